"""Models of Keras, each with an example input; layers have names of their own."""

import keras
import numpy as np
from keras import layers, ops

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype("float32")


def tokens(most, *shape):
    return RNG.integers(most, size=shape).astype("int32")


def mlp():
    return keras.Sequential(
        [
            keras.Input((40,)),
            layers.Dense(64, "relu", name="first"),
            layers.Dense(64, name="second"),
            layers.Activation("gelu", name="gelu"),
            layers.Dropout(0.1, name="dropout"),
            layers.Dense(5, name="last"),
        ],
        name="mlp",
    ), floats(256, 40)


def cnn():
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    y = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv2")(x)
    x = layers.Add(name="sum")([x, layers.BatchNormalization(name="norm2")(y)])
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="conv3")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu2")(x))
    return keras.Model(image, layers.Dense(10, name="last")(x), name="cnn"), floats(16, 16, 16, 3)


def separable():
    image = keras.Input((16, 16, 4), name="image")
    kinds = {"padding": "same", "depth_multiplier": 2}
    x = layers.SeparableConv2D(16, 3, activation="relu", name="separable", **kinds)(image)
    x = layers.DepthwiseConv2D(3, name="depthwise", **kinds)(x)
    x = layers.ReLU(name="relu")(layers.GroupNormalization(4, name="norm")(x))
    x = layers.Conv2D(16, 3, groups=4, activation="relu", name="grouped")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="last")(x), name="sep"), floats(8, 16, 16, 4)


def unet():
    image = keras.Input((16, 16, 3), name="image")
    kinds = {"padding": "same", "activation": "relu"}
    fine = layers.Conv2D(8, 3, name="fine", **kinds)(image)
    x = layers.Conv2D(16, 3, name="coarse", **kinds)(layers.MaxPooling2D(name="down")(fine))
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up", **kinds)(x)
    x = layers.Conv2D(8, 3, name="both", **kinds)(layers.Concatenate(name="cat")([x, fine]))
    return keras.Model(image, layers.Conv2D(1, 1, name="last")(x), name="unet"), floats(
        4, 16, 16, 3
    )


def transformer(width=32, heads=4, words=50, length=8):
    text = keras.Input((length,), dtype="int32", name="text")
    x = layers.Embedding(words, width, name="table")(text)
    for n in range(2):
        y = layers.LayerNormalization(name=f"norm{n}a")(x)
        attention = layers.MultiHeadAttention(heads, width // heads, name=f"attention{n}")
        x = layers.Add(name=f"sum{n}a")([x, attention(y, y, use_causal_mask=True)])
        y = layers.LayerNormalization(name=f"norm{n}b")(x)
        y = layers.Dense(4 * width, "gelu", name=f"up{n}")(y)
        x = layers.Add(name=f"sum{n}b")([x, layers.Dense(width, name=f"down{n}")(y)])
    x = layers.LayerNormalization(name="norm")(x)
    model = keras.Model(text, layers.Dense(words, name="last")(x), name="transformer")
    return model, tokens(words, 16, length)


def lstm():
    series = keras.Input((5, 16), name="series")
    x = layers.LSTM(24, return_sequences=True, name="lower")(series)
    x = layers.LSTM(20, name="upper")(x)
    return keras.Model(series, layers.Dense(3, name="last")(x), name="lstm"), floats(8, 5, 16)


def gru():
    series = keras.Input((5, 16), name="series")
    x = layers.GRU(24, return_sequences=True, name="lower")(series)
    x = layers.GRU(20, reset_after=False, name="upper")(x)
    return keras.Model(series, layers.Dense(3, name="last")(x), name="gru"), floats(8, 5, 16)


class Places(layers.Layer):
    """Reads its variables with operators of Python, and not by functions of Keras."""

    def build(self, shape):
        self.places = self.add_weight(shape=shape[1:], name="places")
        self.turn = self.add_weight(shape=(shape[-1], shape[-1]), name="turn")

    def call(self, x):
        return (x + self.places) @ self.turn


def stacked():
    series = keras.Input((5, 16), name="series")
    x = Places(name="places")(series)
    cells = [layers.LSTMCell(24, name="lower"), layers.GRUCell(20, name="upper")]
    cells = layers.StackedRNNCells(cells, name="cells")
    x = layers.RNN(cells, name="stack")(x)
    return keras.Model(series, layers.Dense(3, name="last")(x), name="stacked"), floats(8, 5, 16)


def bidirectional():
    text = keras.Input((5,), dtype="int32", name="text")
    x = layers.Embedding(40, 16, name="table")(text)
    x = layers.Bidirectional(layers.LSTM(12, return_sequences=True, name="lstm"), name="two")(x)
    x = layers.SimpleRNN(7, name="simple")(x)
    x = layers.Dense(3, "softmax", name="last")(x)
    return keras.Model(text, x, name="bidirectional"), tokens(40, 8, 5)


def grouped(width=32, heads=4, groups=2, words=50, length=8):
    """Two queries for each key and value, RMS norm, a gated linear unit, tied to no table."""
    text = keras.Input((length,), dtype="int32", name="text")
    x = layers.Embedding(words, width, name="table")(text)
    y = layers.RMSNormalization(name="norm0")(x)
    attention = layers.GroupQueryAttention(width // heads, heads, groups, name="attention")
    x = layers.Add(name="sum0")([x, attention(y, y, use_causal_mask=True)])
    y = layers.RMSNormalization(name="norm1")(x)
    gate = layers.Dense(3 * width, "silu", use_bias=False, name="gate")(y)
    up = layers.Dense(3 * width, use_bias=False, name="up")(y)
    y = layers.Dense(width, use_bias=False, name="down")(
        layers.Multiply(name="product")([gate, up])
    )
    x = layers.RMSNormalization(name="norm")(layers.Add(name="sum1")([x, y]))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(text, layers.Dense(3, name="last")(x), name="grouped"), tokens(
        words, 16, length
    )


class Block(layers.Layer):
    def __init__(self, width, **options):
        super().__init__(**options)
        shape = (None, 4, width)
        self.up = layers.EinsumDense(
            "abc,cde->abde", shape, bias_axes="de", activation="relu", name="up"
        )
        self.down = layers.EinsumDense("abde,dec->abc", (None, width), bias_axes="c", name="down")
        self.norm = layers.RMSNormalization(name="norm")

    def call(self, x):
        return x + self.down(self.up(self.norm(x)))


class Einsums(keras.Model):
    """Subclassed, and built by its first call; its `call` takes no `training`."""

    def __init__(self):
        super().__init__(name="einsums")
        self.first = layers.Dense(24, name="first")
        self.blocks = [Block(24, name="block0"), Block(24, name="block1")]
        self.last = layers.Dense(2, name="last")

    def call(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def einsums():
    return Einsums(), floats(16, 6, 10)


class Mixture(layers.Layer):
    """Four experts on stacked kernels (experts, in, out), weighed by a softmax."""

    def build(self, shape):
        self.gate = layers.Dense(4, name="gate")
        self.gate.build(shape)
        self.up = self.add_weight(shape=(4, shape[-1], 48), name="up")
        self.down = self.add_weight(shape=(4, 48, shape[-1]), name="down")

    def call(self, x):
        hidden = ops.relu(ops.einsum("bi,nio->bno", x, self.up))
        found = ops.einsum("bno,noi->bni", hidden, self.down)
        return ops.sum(found * ops.softmax(self.gate(x))[..., None], axis=1)


def mixture():
    numbers = keras.Input((40,), name="numbers")
    words = keras.Input((6,), dtype="int32", name="words")
    bag = layers.GlobalAveragePooling1D(name="bag")(layers.Embedding(30, 32, name="table")(words))
    x = layers.Dense(32, "tanh", name="dense")(numbers)
    x = layers.Concatenate(name="cat")([x, bag])
    x = layers.Add(name="sum")([x, Mixture(name="experts")(x)])
    x = layers.PReLU(name="prelu")(layers.GroupNormalization(8, name="norm")(x))
    model = keras.Model(
        {"numbers": numbers, "words": words}, layers.Dense(3, name="last")(x), name="mixture"
    )
    return model, {"numbers": floats(16, 40), "words": tokens(30, 16, 6)}


MODELS = {
    make.__name__: make
    for make in (
        mlp,
        cnn,
        separable,
        unet,
        transformer,
        grouped,
        lstm,
        gru,
        stacked,
        bidirectional,
        einsums,
        mixture,
    )
}
