"""Recipes as users write them: shipped ones with own fields over theirs, and what is refused."""

import msgspec
import pytest

from skerry.image.building.recipe import BadRecipe, parse_recipe, read_recipe


def test_a_shipped_recipe_takes_a_users_fields_over_its_own(tmp_path):
    (tmp_path / "image.toml").write_text(
        '[image]\nfrom = "nginx"\ncommand = ["-v"]\nexpose = ["9000"]\ntls = true\n[debian]\nentrypoints = ["/usr/bin/x"]\n'
        '[files]\n"/etc/nginx/conf.d/default.conf" = "site.conf"\n[environment]\nA = "1"\n'
    )
    nginx, own = parse_recipe({"recipe": "nginx"}), read_recipe(tmp_path)
    assert (own.recipe, own.packages, own.entrypoint) == ("debian", nginx.packages, nginx.entrypoint)
    assert (own.command, own.expose, own.tls, own.programs) == (("-v",), ("8080", "9000"), True, ("/usr/bin/x",))
    assert own.texts == nginx.texts and own.files == {"/etc/nginx/conf.d/default.conf": "site.conf"}
    assert own.environment == {"A": "1"}
    assert parse_recipe(msgspec.to_builtins(own)) == own  # as a compose file hands it on


@pytest.mark.parametrize(
    "text",
    [
        "image = 1",
        "[imag]",
        "[image]\nfrom = 'redis'\nnonsense = 1",
        "[image]\nrecipe = 'static'",
        "[image]\nrecipe = 'static'\nentrypoint = ['x']\nstdlib = ['a']",
        "[image]\nrecipe = 'site'\nfolder = '../x'",
        "[image]\nrecipe = 'site'\nentrypoint = ['/x']",
        "[image]\nfrom = 'redis'\n[files]\n'/x' = '../y'",
        "[image]\nfrom = 'redis'\n[files]\n'x' = 'y'",
        "[image]\nfrom = 'redis'\n[texts]\n'/../x' = 'y'",
    ],
)
def test_a_recipe_file_with_a_mistake_is_refused(text, tmp_path):
    (tmp_path / "image.toml").write_text(text)
    with pytest.raises(BadRecipe):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("text", "why", "fix"),
    [
        ("[image]\nrecipe = 'site'\nfodler = 'x'", "it has no key 'fodler'", "did you mean folder?"),
        ("[image]\nrecipe = 'site'\n[build]\nouput = ['x']", "build: it has no key 'ouput'", "did you mean outputs?"),
        ("[image]\nrecipe = 'site'\nkeep = 'x'", "keep should be a list, as [one, two], not str", "docs/images.md"),
        ("[image]\nrecipe = 'python'\nbytecode = 1", "bytecode should be true or false, not int", "docs/images.md"),
        ("[image]\nrecipe = 'python'\nstdlib = ['sqlite']", "stdlib: 'sqlite' is no part that is left out", "sqlite3"),
        ("[image]\nrecipe = 'python'\nentrypoint = ['./web.py']", "'./web.py' is a script", "write [python3, ./web.py, …]"),
        ("recipe = 'site'", "recipe stands outside of a table", "below [image]"),
        ("[imag]\nrecipe = 'site'", "it has the unknown table [imag]", "below [image]"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_the_recipes_own_words_with_what_to_write(text, why, fix, tmp_path):
    (tmp_path / "image.toml").write_text(text)
    with pytest.raises(BadRecipe) as refused:
        read_recipe(tmp_path)
    assert why in refused.value.why and fix in refused.value.fix
