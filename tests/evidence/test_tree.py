"""The drawn tree of the methods is the tree that stands as text."""

import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[2]))  # evidence is no part of the package

from evidence import tree

PAGE = tree.PAGE.read_text(encoding="utf-8")


def test_the_picture_is_that_of_the_text():
    assert tree.draw(tree.read(PAGE)) == tree.PICTURE.read_text(encoding="utf-8"), "make pictures"


def test_every_line_is_read():
    nodes = tree.read(PAGE)
    assert nodes[0] == tree.Node(0, "What is the parameter?")
    assert nodes[1] == tree.Node(1, "a bias or a norm shift", "Zeros (forget gate: GateBias)")
    assert tree.Node(3, "SELU", "LeCun") in nodes
    lines = [line for line in tree.TREE.search(PAGE)[1].splitlines() if line.strip()]
    assert len(nodes) == len(lines)


def test_nothing_leaves_the_picture():
    """Each text begins and ends within it, at letters of the width that the plates are made for."""
    picture = ElementTree.fromstring(tree.draw(tree.read(PAGE)))
    texts = picture.findall("{http://www.w3.org/2000/svg}text")
    assert len(texts) > 50
    for text in texts:
        assert float(text.get("x")) + 7.8 * len(text.text) < tree.WIDTH, text.text
        assert 0 < float(text.get("y")) < float(picture.get("height"))
