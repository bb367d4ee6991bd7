from .analysis import analyze as analyze
from .analysis_plan import ANALYSIS_FILES as ANALYSIS_FILES, plan_analysis as plan_analysis
from .metrics import wilson_interval as wilson_interval
