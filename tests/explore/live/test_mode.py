"""Whether the explorer is live, from what front-ends leave in the environment."""

import pytest

from nsfast.errors import NsfastError
from nsfast.explore.live.mode import display_mode


@pytest.mark.parametrize("name", ["JPY_SESSION_NAME", "VOILA_KERNEL_ID", "VSCODE_PID"])
def test_is_live_where_a_front_end_is(name):
    assert display_mode({name: "x"}) == "live"
    assert display_mode({name: "x", "NSFAST_DISPLAY": "auto"}) == "live"
    assert display_mode({name: "x", "NSFAST_DISPLAY": "static"}) == "static"
    assert display_mode({name: ""}) == "static"


def test_is_static_where_none_is():
    assert display_mode({}) == "static"
    assert display_mode({"NSFAST_DISPLAY": "live"}) == "live"
    with pytest.raises(NsfastError, match="unknown NSFAST_DISPLAY 'statik'; did you mean 'static'"):
        display_mode({"NSFAST_DISPLAY": "statik"})
