from __future__ import annotations

import pytest

import flare_runtime


@pytest.mark.parametrize("name", ["Admin", "PocEnv", "ProdEnv"])
def test_a_name_of_flare_deploy_says_what_to_install_and_to_import(name):
    with pytest.raises(ImportError, match=rf"pip install flare-deploy, then from flare_deploy import {name}$"):
        exec(f"from flare_runtime import {name}")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(flare_runtime, "Simulator")
