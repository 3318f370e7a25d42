"""The README tells the truth: its programs run, and print what it says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import arviz as az
import numpy as np

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FAMILIES = (ROOT / "models" / "README.md").read_text()
NUMBER = re.compile(r"-?\d+(?:\.\d*)?")


def test_the_example_prints_what_the_readme_shows(capsys):
    code, shown = re.search(r"```python\n(import bgmm\n.*?)```\n\n```text\n(.*?)```", README, re.S).groups()
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert NUMBER.sub("", printed).split() == NUMBER.sub("", shown).split()
    ours, theirs = (np.array(NUMBER.findall(text), dtype=float) for text in (printed, shown))
    # Other machines draw other numbers: two means of draws differ by as much as their Monte Carlo errors and rounding allow.
    means = [1, 2, 4, 5]  # the labels of the two rows stand before them
    errors = np.full(ours.shape, 0.03)
    errors[means] = 0.01 + 4.5 * np.sqrt(2) * az.mcse(names["posterior"]["means"]).to_numpy().ravel()
    assert (np.abs(ours - theirs) <= errors).all(), (ours, theirs, errors)


def test_a_program_of_the_readers_own_is_fitted():
    code = re.search(r"```python\n( *def my_model.*?)```", README, re.S)[1]
    names = {}
    imports = "import jax.numpy as jnp\nimport numpyro\nimport numpyro.distributions as dist\nimport bgmm\n"
    exec(compile(imports + re.sub(r"^  ", "", code, flags=re.M), "README.md", "exec"), names)
    bgmm = names["bgmm"]
    tree = bgmm.fit(names["my_model"], bgmm.galaxies().to_numpy() - 20, engine=bgmm.EM(n_starts=2), seed=0)
    assert tree["posterior"]["w"].shape == (1, 1, 2)


def test_the_families_of_the_page_on_families_are_fitted():
    names = {}
    for code in re.findall(r"```python\n(.*?)```", FAMILIES, re.S):
        with warnings.catch_warnings(action="ignore"):  # that the values repeat, as the page says
            exec(compile(code, "models/README.md", "exec"), names)
        tree = names["tree"]
        assert bool(tree["sample_stats"]["converged"].all())
        assert names["bgmm"].log_density(tree).shape == (272,)
    assert {"means", "widths"} <= set(tree["posterior"].data_vars)


def test_every_file_that_the_readme_links_to_is_there():
    for text, folder in ((README, ROOT), (FAMILIES, ROOT / "models")):
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / link).exists(), link


def test_every_name_that_the_readme_mentions_is_there():
    import bgmm
    from bgmm import models

    mentioned = set(re.findall(r"\b(bgmm|models)\.([a-zA-Z]\w+)", README))
    assert {("bgmm", "fit"), ("models", "random_k")} <= mentioned
    for module, name in mentioned:
        assert hasattr({"bgmm": bgmm, "models": models}[module], name), f"{module}.{name}"
