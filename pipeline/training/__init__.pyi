from .training_plan import TrainingPlan as TrainingPlan, plan_training as plan_training
from .transfer_learning import TrainingResult as TrainingResult, train as train
