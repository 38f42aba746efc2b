"""Lock files of other tools, as those tools wrote them (tests/image/locks; only their index has another name): read as they are.

The samples are of uv 0.9, Poetry 2.5 in the standard's and in its own way, and uv's exports; all lock one small shop.
"""

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import SkerryError
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.sources.needs import Asked, requirements_of
from skerry.image.building.sources.needs.pins import SDIST_MARK, StaleLock
from skerry.image.building.sources.wheels import lock_wheels, unpack_wheel
from skerry.image.contract import BuildRefused, DownloadRefused

SAMPLES = Path(__file__).parent / "locks"
CACHE = Path(__file__).parents[2] / "build" / "cache"
KINDS = [("uv", "uv.lock"), ("uv", "pylock.toml"), ("poetry", "poetry.lock"), ("poetry-own", "poetry.lock")]
# async-timeout: redis asks for it before Python 3.11.3, and the image has 3.11.2. markupsafe: the compiled one for glibc.
PINNED = {
    "async-timeout": ("5.0.1", "39e3809566ff"),
    "linkify-it-py": ("2.2.0", "3adc40eb5af3"),
    "markdown-it-py": ("4.3.0", "7aa1511a46c3"),
    "markupsafe": ("3.0.4", "6da83a088f8e"),
    "mdurl": ("0.1.2", "84008a41e516"),
    "redis": ("8.1.0", "a4fe1aac3d3b"),
}
MORE = {"click": ("8.5.1", "8bb5376d2006"), "itsdangerous": ("2.2.0", "c6242fc49e35")}


def pins(text: str) -> dict[str, tuple[str, str]]:
    found = [re.fullmatch(r"(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})", line) for line in text.splitlines()]
    assert all(found), text
    return {match[1]: (match[2], match[3][:12]) for match in found if match}


@pytest.fixture
def project(tmp_path):
    """A copy of a sample with only the named lock."""

    def copy(folder: str, lock: str) -> Path:
        target = tmp_path / folder
        target.mkdir()
        for name in (lock, "pyproject.toml"):
            shutil.copy(SAMPLES / folder / name, target / name)
        return target

    return copy


def edit(path: Path, old: str, new: str, count: int = -1) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, count))


@pytest.mark.parametrize("folder, lock", KINDS)
def test_versions_and_hashes_are_taken_as_they_are_for_the_image_s_own_python(project, folder, lock):
    assert pins(requirements_of(project(folder, lock), Asked())) == PINNED


@pytest.mark.parametrize("folder, lock", [("uv", "uv.lock"), ("poetry", "poetry.lock"), ("poetry-own", "poetry.lock")])
def test_extras_and_groups_come_when_they_are_asked_for_and_dev_stays_out(project, folder, lock):
    asked = Asked(extras=("Signed",), groups=("prod",))
    assert pins(requirements_of(project(folder, lock), asked)) == PINNED | MORE
    for wrong in (Asked(extras=("none",)), Asked(groups=("none",))):
        with pytest.raises(BuildRefused, match=r"has no (extra|group) 'none'"):
            requirements_of(SAMPLES / folder, Asked(lock, wrong.extras, wrong.groups))


def test_a_pylock_may_hold_them_too():
    assert pins(requirements_of(SAMPLES / "uv", Asked("pylock.all.toml"))) == PINNED | MORE


def test_requirements_with_hashes_keep_all_of_them_and_lose_what_is_for_other_systems():
    text = requirements_of(SAMPLES / "uv", Asked("requirements-hashed.txt"))
    assert [line.split("==")[0] for line in text.splitlines()] == sorted(PINNED)
    assert all(" --hash=sha256:" + digest in text for _, digest in PINNED.values())


@pytest.mark.parametrize("folder, lock", KINDS)
def test_a_wheel_for_other_platforms_alone_is_told_by_its_name(project, folder, lock):
    path = project(folder, lock)
    text = (path / lock).read_text()
    kept = [line for line in text.splitlines() if "x86_64.whl" not in line]
    (path / lock).write_text("\n".join(kept))
    with pytest.raises(BuildRefused, match=r"markupsafe 3.0.4 has no wheel") as error:
        requirements_of(path, Asked())
    assert "aarch64" in error.value.why and "build: {sdists: [markupsafe]}" in error.value.fix
    (line,) = [
        line for line in requirements_of(path, Asked(sdists=("MarkupSafe",))).splitlines() if "markupsafe" in line
    ]
    assert line.endswith(SDIST_MARK)


@pytest.mark.parametrize("folder, lock", KINDS)
def test_a_lock_that_is_out_of_date_is_told(project, folder, lock):
    path = project(folder, lock)
    if folder == "poetry-own":
        edit(path / "pyproject.toml", 'redis = ">=5"', 'redis = ">=5"\nhttpx = "*"')
    else:
        edit(path / "pyproject.toml", '"redis>=5",', '"redis>=5", "httpx",')
    with pytest.raises(StaleLock, match="out of date") as error:
        requirements_of(path, Asked())
    assert "lock" in error.value.fix
    if lock != "poetry.lock":
        assert "httpx" in error.value.why


@pytest.mark.parametrize("lock, told", [("uv.lock", "redis"), ("pylock.toml", "redis")])
def test_a_version_that_the_lock_does_not_meet_is_told(project, lock, told):
    path = project("uv", lock)
    edit(path / "pyproject.toml", "redis>=5", "redis>=99")
    with pytest.raises(StaleLock, match=told):
        requirements_of(path, Asked())


@pytest.mark.parametrize(
    "folder, lock, old, new",
    [
        ("uv", "uv.lock", '"redis"\nversion = "8.1.0"\nsource = { registry = "https://packages.example/simple" }',
         '"redis"\nversion = "8.1.0"\nsource = { git = "https://packages.example/redis?rev=1#abc" }'),
        ("uv", "uv.lock", '"redis"\nversion = "8.1.0"\nsource = { registry = "https://packages.example/simple" }',
         '"redis"\nversion = "8.1.0"\nsource = { editable = "../redis" }'),
        ("uv", "pylock.toml", 'name = "redis"\nversion = "8.1.0"\nindex = "https://packages.example/simple"',
         'name = "redis"\nvcs = { type = "git", url = "https://packages.example/redis", commit-id = "abc" }\n#'),
        ("uv", "pylock.toml", 'name = "redis"\nversion = "8.1.0"\nindex = "https://packages.example/simple"',
         'name = "redis"\ndirectory = { path = "../redis" }\n#'),
    ],
)  # fmt: skip
def test_what_comes_from_repositories_and_folders_is_refused(project, folder, lock, old, new):
    path = project(folder, lock)
    edit(path / lock, old, new)
    if new.endswith("#"):  # pylock: such an entry has no wheels
        text = (path / lock).read_text()
        start = text.index("#", text.index(new[:30]))
        end = text.find("[[packages]]", start)
        (path / lock).write_text(text[:start] + (text[end:] if end > 0 else ""))
    with pytest.raises(BuildRefused, match="redis can't be taken from") as error:
        requirements_of(path, Asked())
    assert "index" in error.value.why and error.value.fix


def test_a_package_of_poetry_from_a_repository_is_refused(project):
    path = project("poetry", "poetry.lock")
    text = (path / "poetry.lock").read_text()
    at = text.index('[package.source]\ntype = "legacy"', text.index('name = "redis"'))
    (path / "poetry.lock").write_text(text[:at] + text[at:].replace('"legacy"', '"git"', 1))
    with pytest.raises(BuildRefused, match=r"redis can't be taken from poetry.lock"):
        requirements_of(path, Asked())


def test_of_two_locks_one_has_to_be_named(project):
    path = project("uv", "uv.lock")
    shutil.copy(SAMPLES / "poetry" / "poetry.lock", path / "poetry.lock")
    with pytest.raises(BuildRefused, match=r"uv.lock and poetry.lock") as error:
        requirements_of(path, Asked())
    assert "requirements: uv.lock" in error.value.fix
    assert pins(requirements_of(path, Asked("uv.lock"))) == PINNED


def test_a_lock_for_other_pythons_is_refused(project):
    path = project("uv", "uv.lock")
    edit(path / "uv.lock", 'requires-python = ">=3.11"', 'requires-python = ">=3.12"')
    with pytest.raises(BuildRefused, match=r"made for Python >=3.12"):
        requirements_of(path, Asked())


def test_an_older_lock_of_poetry_keeps_its_files_at_the_end(project):
    """Lock version 1.1: no groups, no conditions, the files below [metadata.files]."""
    path = project("poetry-own", "poetry.lock")
    text = (path / "poetry.lock").read_text()
    files = dict(re.findall(r'name = "([^"]+)"\n.*?\nfiles = (\[.*?\n\])', text, re.DOTALL))
    text = re.sub(r"\nfiles = \[.*?\n\]", "", text, flags=re.DOTALL)
    text = re.sub(r"\n(groups|markers|lock-version) = .*", "", text)
    text += "\n[metadata.files]\n" + "".join(f"{name} = {listed}\n" for name, listed in files.items())
    (path / "poetry.lock").write_text(text)
    assert pins(requirements_of(path, Asked())) == PINNED


@pytest.mark.parametrize(
    "line, told",
    [
        ("git+https://packages.example/x.git#egg=x", "elsewhere than an index"),
        ("x @ git+https://packages.example/x.git", "elsewhere than an index"),
        ("x @ https://packages.example/x-1-py3-none-any.whl", "elsewhere than an index"),
        ("-e .", "elsewhere than an index"),
        ("--editable=../x", "elsewhere than an index"),
        (".", "elsewhere than an index"),
        ("./x", "elsewhere than an index"),
        ("/srv/x.tar.gz", "elsewhere than an index"),
        ("x.tar.gz", "elsewhere than an index"),
        ("--no-binary :all:", "the option --no-binary is not taken"),
        ("-c constraints.txt", "the option -c is not taken"),
        ("x >>> 3", "is no requirement"),
        ("-r missing.txt", "missing.txt can't be read"),
        ("-r ../outside.txt", "out of the project"),
        ("-r requirements.txt", "circle"),
    ],
)
def test_lines_that_would_run_code_or_can_not_be_read_are_refused_with_their_number(tmp_path, line, told):
    (tmp_path / "outside.txt").write_text("y")
    path = tmp_path / "project"
    path.mkdir()
    (path / "requirements.txt").write_text(f"# what it needs\nredis>=5  # the store\n{line}\n")
    with pytest.raises(BuildRefused, match=re.escape(told)) as error:
        requirements_of(path, Asked())
    assert "line 3" in str(error.value) or line.startswith("-r")


def test_files_in_files_comments_and_long_lines_become_one_text(tmp_path):
    (tmp_path / "base.txt").write_text("a>=1 ; python_version > '3' \\\n  # no comment here\nb[x]\n")
    (tmp_path / "requirements.txt").write_text(
        "# head\n-r base.txt\nc \\\n ==1\n--extra-index-url https://packages.example\n"
    )
    text = requirements_of(tmp_path, Asked())
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "a>=1 ; python_version > '3'", "b[x]", "c ==1", "--extra-index-url https://packages.example",
    ]  # fmt: skip


def test_hashes_for_some_lines_alone_are_refused(tmp_path):
    good = "a==1 --hash=sha256:" + "0" * 64
    (tmp_path / "requirements.txt").write_text(f"{good}\nb==2\n")
    with pytest.raises(BuildRefused, match="line 2 can't be used"):
        requirements_of(tmp_path, Asked())
    (tmp_path / "requirements.txt").write_text(f"{good}\nb>=2 --hash=sha256:{'1' * 64}\n")
    with pytest.raises(BuildRefused, match="no one version"):
        requirements_of(tmp_path, Asked())


@pytest.mark.parametrize("folder, lock", KINDS)
@given(data=st.data())
def test_a_lock_with_any_line_changed_is_read_or_refused(tmp_path_factory, folder, lock, data):
    path = tmp_path_factory.getbasetemp() / f"changed-{folder}-{lock}"
    path.mkdir(exist_ok=True)
    shutil.copy(SAMPLES / folder / "pyproject.toml", path)
    lines = (SAMPLES / folder / lock).read_text().splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    words = [
        "",
        "[[package]]",
        "x = 1",
        'name = "redis"',
        "version = 3",
        "files = 7",
        'source = { git = "x" }',
        "[package]",
    ]
    lines[at] = data.draw(st.one_of(st.sampled_from(words), st.just(lines[at][::-1]), st.just(lines[at] * 2)))
    (path / lock).write_text("\n".join(lines))
    try:
        text = requirements_of(path, Asked(lock))
    except SkerryError as refused:
        assert refused.why or refused.fix
    else:
        assert set(pins(text)) <= PINNED.keys() | MORE.keys() | {
            "colorama",
            "iniconfig",
            "typing-extensions",
            "uc-micro-py",
        }


@pytest.mark.real
def test_what_a_lock_names_is_fetched_and_what_has_vanished_is_told(tmp_path, project):
    text = requirements_of(project("uv", "uv.lock"), Asked())
    only = "".join(line + "\n" for line in text.splitlines() if line.startswith(("mdurl", "markupsafe")))
    found = lock_wheels(only, "3.11.2", tmp_path, tmp_path / "cache", lambda line: None)
    assert [(wheel.name, wheel.version, wheel.sha256[:12]) for wheel in found] == [
        (name, *PINNED[name]) for name in ("markupsafe", "mdurl")
    ]
    assert any(file.path.endswith(".so") for file in unpack_wheel(found[0], tmp_path / "cache", "site"))
    gone = "mdurl==0.0.99 --hash=sha256:" + "0" * 64 + "\n"
    with pytest.raises(Gone, match=r"mdurl==0.0.99 can't be had"):
        lock_wheels(gone, "3.11.2", tmp_path, tmp_path / "cache", lambda line: None)
    changed = "mdurl==0.1.2 --hash=sha256:" + "0" * 64 + "\n"
    with pytest.raises(DownloadRefused, match="other bytes"):
        lock_wheels(changed, "3.11.2", tmp_path, tmp_path / "cache", lambda line: None)
    lacking = "".join(line + "\n" for line in text.splitlines() if line.startswith("markdown-it-py"))
    with pytest.raises(BuildRefused, match="also need mdurl"):
        lock_wheels(lacking, "3.11.2", tmp_path, tmp_path / "cache", lambda line: None)
