"""A diagnosis, shown: text for a terminal, one self-contained HTML page, JUnit XML, figures.

Nothing here measures or judges. `figures.draw` knows nothing of diagnoses and serves other pages.
"""

from lstm_oracle.diagnosis.report.html import html
from lstm_oracle.diagnosis.report.junit import junit
from lstm_oracle.diagnosis.report.text import text

__all__ = ["html", "junit", "text"]
