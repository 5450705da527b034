"""The picture holds every curve."""

from isoinit._showing.picture import signal_by_depth


def test_a_picture_is_written(tmp_path):
    path = signal_by_depth(
        {"a": [1, 0.1], "b": [1, 2]}, {"a": [1e-9, 1], "b": [1, 1]}, tmp_path / "p.svg"
    )
    text = path.read_text()
    assert text.count("<svg") == 1
    assert "backward: size of gradients" in text or "<path" in text
