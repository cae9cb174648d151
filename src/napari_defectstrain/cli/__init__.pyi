from .evaluate import beside_paper as beside_paper
from .evaluate import report as report
