"""Parameters as learned distributions: a network that knows where it is unsure.

`convert` turns the weights of linear and convolutional layers into Gaussians whose mean and spread
are trained (Blundell et al. 2015), `kl` is the term to add to the loss, and `predict` runs a model
many times and reports the mean and the spread of its outputs.

Use it where a wrong but confident answer is costly, or to say which inputs are unlike the training
data. Not where only accuracy counts: it takes twice the memory, noisier gradients and more steps,
and a deep ensemble of plain networks is often the better calibrated one (Ovadia et al. 2019).

Known limits. Every weight has a Gaussian of its own, so correlations between weights are lost
(mean field): such a network is overconfident between two clusters of data and can only be trusted
to be unsure far away from both (Foong et al. 2019). Noise is drawn once for a whole batch, which
makes gradients noisier than a draw for every example would (Kingma et al. 2015). Biases, norm
layers, embeddings and recurrent layers keep single values.
"""

from isoinit.variational.convert import GaussianWeight, convert, kl
from isoinit.variational.predict import Prediction, predict

__all__ = ["GaussianWeight", "Prediction", "convert", "kl", "predict"]
