"""Wrappers give the outputs that a deploy config names."""

import pytest

from rfdetr_mm.deploy.session_wrapper import choose_outputs
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize(
    'wanted, expected',
    [
        (None, ['dets', 'labels']),
        (['labels', 'dets'], ['labels', 'dets']),
        (['labels'], ['labels']),
    ],
)
def test_outputs_in_the_wanted_order(wanted, expected):
    assert choose_outputs('a.xml', ['dets', 'labels'], wanted) == expected


def test_an_output_that_the_file_lacks():
    message = r"a\.xml has the outputs .*wanted are \['masks'\]"
    with pytest.raises(InputError, match=message):
        choose_outputs('a.xml', ['dets', 'labels'], ['masks'])
