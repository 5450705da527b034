"""Parameters as learned distributions: a network that knows where it is unsure.

from isoinit import variational

variational.convert(model, isoinit.plan(model, batch))    # weights become Gaussians
loss = variational.elbo(nll, model, n_data=50_000)        # what to train on
variational.predict(model, x, likelihood="logits")        # the answer, and how sure it is

Use it where a wrong but confident answer is costly, or to say which inputs are unlike the training
data. Not where only accuracy counts: it takes twice the memory, noisier gradients and more steps,
and a deep ensemble of plain networks is often the better calibrated one (Ovadia et al. 2019).

Known limit. Every weight has a Gaussian of its own, so correlations between weights are lost (mean
field): such a network is overconfident between two clusters of data and can only be trusted to be
unsure far away from both (Foong et al. 2019).
"""

from isoinit.variational._convert import convert
from isoinit.variational._predict import Prediction, predict
from isoinit.variational.export import freeze, posterior, sample
from isoinit.variational.from_posterior import FromPosterior
from isoinit.variational.gaussian import GaussianWeight
from isoinit.variational.loss import at_prior, elbo, kl
from isoinit.variational.priors import NormalPrior, ScaleMixture
from isoinit.variational.scores import Scores, score
from isoinit.variational.starts import Regression, Trained

__all__ = [
    "FromPosterior",
    "GaussianWeight",
    "NormalPrior",
    "Prediction",
    "Regression",
    "ScaleMixture",
    "Scores",
    "Trained",
    "at_prior",
    "convert",
    "elbo",
    "freeze",
    "kl",
    "posterior",
    "predict",
    "sample",
    "score",
]
