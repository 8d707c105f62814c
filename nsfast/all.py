"""Everything a notebook may want: `from nsfast.all import *`. Library code imports from the rooms instead."""

import warnings as _warnings

_warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # fastai's, at import

from nsfast.analysis.evaluate import model_rows, probabilities_of
from nsfast.analysis.figures import *
from nsfast.analysis.metrics import calibrated_ece, reliability_table, summary, wilson_interval
from nsfast.explore.core import PseudoLabels, ThresholdPreview
from nsfast.explore.live.explorer import Explorer
from nsfast.images import *
from nsfast.images.digits import digits
from nsfast.images.folder import read_folder
from nsfast.labels import *
from nsfast.labels.calibrate import fit_temperature
from nsfast.labels.labeling.label import label
from nsfast.labels.predict import predict
from nsfast.labels.quality.quality import quality
from nsfast.losses import SoftTargetCrossEntropy, SoftTargets, soft_accuracy
from nsfast.models import build_model
from nsfast.noise import *
from nsfast.pipeline import begin
from nsfast.pipeline.exploring import explore_run
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.batches import JointDL, joint_loaders
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.model_file import load_model, save_model
from nsfast.training.pictures import Pictures
from nsfast.training.train import train
