from .blocks import Report as Report
from .contents import make_report as make_report
from .document import REPORT_SUFFIXES as REPORT_SUFFIXES
from .document import is_report as is_report
from .document import report_path as report_path
from .document import write_document as write_document
from .document import write_report as write_report
from .page import report_html as report_html
