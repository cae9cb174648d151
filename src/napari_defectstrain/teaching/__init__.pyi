from .lessons import Lesson as Lesson
from .lessons import lesson_of_table as lesson_of_table
from .lessons import lessons_of_study as lessons_of_study
