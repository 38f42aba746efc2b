"""Recipes as users write them: shipped ones with own fields over theirs, and what is refused."""

import msgspec
import pytest

from skerry.image.recipe import BadRecipe, parse_recipe, read_recipe


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
