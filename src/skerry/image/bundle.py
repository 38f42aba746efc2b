"""A bundle: all that one version of an image has more than another, as small as the edit. Made by any holder of both, read by
any holder of the older. Nothing here touches a file or a socket: contents come through a function.

    [1, known, body, patches]     `known`: places in the old tree of files that are the body's dictionary, and that changed
    body      zstd, dictionary: the old image's documents and those files. What is new in the documents, and contents
    patches   of files of 64 KiB to 32 MiB that were there before: zstd, each with its old content as its dictionary

What can be computed doesn't travel: the hashes of contents that are in the bundle, of the config and of the tree. They are put
into the old documents' text where the old ones stood; only the layer's hash, which would need every file to be read, is sent.
Nothing is trusted: sizes are bounded before anything is unpacked, and documents and files count only by their hash, from the
image's digest down (`open_bundle`, `Patch.apply`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec
import zstandard

from skerry.errors import Refusal
from skerry.image.contract import BadImage
from skerry.image.manifest import MAX_ENTRIES, MAX_FILE_BYTES, MAX_PATH_BYTES, MODES, Entry, Tree, parse_tree
from skerry.image.oci import MAX_JSON_BYTES, Read, Refs, hash_of, parse_manifest
from skerry.outside import UNREADABLE

BUNDLE_BYTES = 24 << 20
BODY_BYTES = 16 << 20  # unpacked
KNOWN_BYTES = 16 << 20  # the body's dictionary
KNOWN_FILES = 8192
NEW_FILE_BYTES = 1 << 20  # a new file that is larger comes in packs, from several hosts at once
PATCHED_FROM_BYTES, PATCHED_TO_BYTES = 64 << 10, 32 << 20
PATCHES = 512
PATCHED_BYTES = 64 << 20  # of all patched files: beyond that packs from several hosts are quicker

_MAGIC = b"\x28\xb5\x2f\xfd"  # of every zstd frame: not sent
_SMALL_BYTES, _MIDDLE_BYTES = 1 << 20, 4 << 20  # up to here level 19, 9 cost next to nothing
_CODES = [(kind, mode) for kind in "dlf" for mode in MODES[kind]]

T = TypeVar("T")
_Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRIES)]
_Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class BadBundle(BadImage):
    """A bundle that is not well formed, breaks a bound, or doesn't lead to the image that was asked for. Nothing of it was
    kept: the same files are fetched without it.
    """

    code = "bad-bundle"

    def __init__(self, why: str) -> None:
        super().__init__("a bundle was refused", why, "the next host is asked, and then for packs of files")


class NoBundle(Refusal):
    """No bundle leads from the one image to the other within the bounds."""

    code = "no-image-bundle"


class Version(msgspec.Struct, frozen=True):
    """The documents of an image that is here whole."""

    manifest: bytes
    config: bytes
    tree: Tree

    @property
    def refs(self) -> Refs:
        return parse_manifest(self.manifest)


class _Patch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    index: _Index
    sha256: _Hash
    size: Annotated[int, msgspec.Meta(ge=0, le=PATCHED_TO_BYTES)]
    frame: bytes


class _Bundle(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    form: Annotated[int, msgspec.Meta(ge=1, le=1)]
    known: Annotated[tuple[_Index, ...], msgspec.Meta(max_length=KNOWN_FILES)]
    body: bytes
    patches: Annotated[tuple[_Patch, ...], msgspec.Meta(max_length=PATCHES)]


class _Left(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A content that is not in the bundle."""

    sha256: _Hash
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_BYTES)]


class _Added(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`what`: a link's target; of a file the place of an old one with this content, or where else it is, or None: the next
    of the body's contents.
    """

    path: Annotated[str, msgspec.Meta(max_length=MAX_PATH_BYTES)]
    code: Annotated[int, msgspec.Meta(ge=0, lt=len(_CODES))]
    what: Annotated[str, msgspec.Meta(max_length=MAX_PATH_BYTES)] | _Index | _Left | None = None


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`layer`: the new layer's hash, b"": the documents' text stands as it is; `manifest`, `config`: b"" as before."""

    layer: Annotated[bytes, msgspec.Meta(max_length=32)]
    manifest: Annotated[bytes, msgspec.Meta(max_length=MAX_JSON_BYTES)]
    config: Annotated[bytes, msgspec.Meta(max_length=MAX_JSON_BYTES)]
    gone: Annotated[tuple[_Index, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    added: Annotated[tuple[_Added, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    contents: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_ENTRIES)]


class Patch(msgspec.Struct, frozen=True):
    """A large file by what is new in it. `old`: the hash of the content that it is made from."""

    old: str
    sha256: str
    size: int
    frame: bytes

    def apply(self, old: bytes) -> bytes:
        """The new content, of the right hash. Raises BadBundle."""
        data = _unpack(self.frame, old, self.size)
        if len(data) != self.size or hashlib.sha256(data).hexdigest() != self.sha256:
            raise BadBundle(f"a patch does not lead to the file {self.sha256[:12]} that the image names")
        return data


class Opened(msgspec.Struct, frozen=True):
    """What a bundle brought, all checked against the digest. `files`: documents and contents by hash."""

    tree: Tree
    files: dict[str, bytes]
    patches: tuple[Patch, ...]


def make_bundle(old: Version, new: Version, read: Read) -> bytes:
    """What leads from `old` to `new`. `read` gives contents by hash, of both. Raises NoBundle.

    What is too large for it is left out: whoever opens it finds that missing, and fetches it.
    """
    edits = _Edits(old, new)
    dictionary = _dictionary(old, edits.known, read)
    contents = tuple(read(hash) for hash in edits.contents)
    body = msgspec.msgpack.encode(_texts(old, new, edits, contents))
    if len(body) > BODY_BYTES or len(dictionary) > KNOWN_BYTES:
        raise NoBundle("no bundle was made", "the two versions have too little in common", "fetch it in packs")
    total = len(body) + len(dictionary)
    level = 19 if total <= _SMALL_BYTES else 9 if total <= _MIDDLE_BYTES else 3
    patches = tuple(
        _Patch(at, bytes.fromhex(entry.sha256), entry.size, _pack(read(entry.sha256), read(was.sha256), 9))
        for at, was, entry in edits.patches
    )
    made = msgspec.msgpack.encode(_Bundle(1, tuple(edits.known), _pack(body, dictionary, level), patches))
    if len(made) > BUNDLE_BYTES:
        raise NoBundle("no bundle was made", "the two versions have too little in common", "fetch it in packs")
    return made


def open_bundle(data: bytes, old: Version, digest: str, read: Read) -> Opened:
    """Read a bundle from `old` to the image `digest`. `read` gives the old contents. Raises BadBundle."""
    if len(data) > BUNDLE_BYTES:
        raise BadBundle(f"it has {len(data)} bytes, more than {BUNDLE_BYTES}")
    bundle = _decode(data, _Bundle)
    entries = old.tree.entries
    for at in [*bundle.known, *(patch.index for patch in bundle.patches)]:
        if at > len(entries) or (at == len(entries) and at in {patch.index for patch in bundle.patches}):
            raise BadBundle("it names a file that the old version doesn't have")
        if at < len(entries) and entries[at].kind != "f":
            raise BadBundle("it names a file that is none")
    if sum(patch.size for patch in bundle.patches) > PATCHED_BYTES:
        raise BadBundle("its patched files are too large together")
    if sum(entries[at].size for at in bundle.known if at < len(entries)) > KNOWN_BYTES or any(
        entries[patch.index].size > PATCHED_TO_BYTES for patch in bundle.patches
    ):
        raise BadBundle("what it builds upon is too large")
    body = _decode(_unpack(bundle.body, _dictionary(old, bundle.known, read), BODY_BYTES), _Body)
    documents = _documents(old, body, _tree(old.tree, bundle, body), digest)
    tree = parse_tree(documents[2])  # what was put together might read otherwise than it was meant
    patches = tuple(Patch(entries[p.index].sha256, p.sha256.hex(), p.size, p.frame) for p in bundle.patches)
    files = {hashlib.sha256(data).hexdigest(): data for data in (*documents, *body.contents)}
    named = {hash_of(digest), *tree.objects(), *(hashlib.sha256(data).hexdigest() for data in documents[1:])}
    if not named.issuperset(files) or not named.issuperset(patch.sha256 for patch in patches):
        raise BadBundle("it holds files that the image doesn't have")
    return Opened(tree, files, patches)


class _Edits:
    """How the one tree differs from the other.

    `known`: places of old files that have a new content in the body; `contents`: hashes of what is in it, in the order in
    which it is used; `patches`: (place, old entry, new entry).
    """

    def __init__(self, old: Version, new: Version) -> None:
        self.known: list[int] = []
        self.contents: list[str] = []
        self.patches: list[tuple[int, Entry, Entry]] = []
        self.gone: list[int] = []
        self.added: list[_Added] = []
        self._room = {"body": BODY_BYTES - 2 * MAX_JSON_BYTES, "known": KNOWN_BYTES, "patched": PATCHED_BYTES}
        if old.tree.entries == new.tree.entries:
            return
        places = {entry.path: at for at, entry in enumerate(old.tree.entries)}
        by_content = {entry.sha256: at for at, entry in enumerate(old.tree.entries) if entry.kind == "f"}
        later: list[str] = []
        for entry in new.tree.entries:
            at = places.pop(entry.path, None)
            was = None if at is None else old.tree.entries[at]
            if at is not None and was is not None:
                if was == entry or self._changed(at, was, entry):
                    continue
                self.gone.append(at)
            self.added.append(self._add(entry, by_content, later))
        self.gone += places.values()
        self.contents += later
        if self.added:
            self.known.append(len(old.tree.entries))  # the old tree's text: new paths are like old ones

    def _changed(self, at: int, was: Entry, entry: Entry) -> bool:
        """Whether the same file with another content travels as a change of it."""
        if (was.kind, was.mode, entry.kind) != ("f", entry.mode, "f"):
            return False
        sizes = (was.size, entry.size)
        if min(sizes) >= PATCHED_FROM_BYTES and max(sizes) <= PATCHED_TO_BYTES:
            if len(self.patches) < PATCHES and self._take("patched", entry.size):
                self.patches.append((at, was, entry))
                return True
            return False
        if entry.size > NEW_FILE_BYTES or len(self.known) >= KNOWN_FILES - 1:
            return False
        if not self._take("known", was.size) or not self._take("body", entry.size + 16):
            return False
        self.known.append(at)
        self.contents.append(entry.sha256)
        return True

    def _add(self, entry: Entry, by_content: dict[str, int], later: list[str]) -> _Added:
        code = _CODES.index((entry.kind, entry.mode))
        if entry.kind != "f":
            return _Added(entry.path, code, entry.link or None)
        if entry.sha256 in by_content:
            return _Added(entry.path, code, by_content[entry.sha256])
        if entry.size <= NEW_FILE_BYTES and self._take("body", entry.size + 16):
            later.append(entry.sha256)
            return _Added(entry.path, code)
        return _Added(entry.path, code, _Left(bytes.fromhex(entry.sha256), entry.size))

    def _take(self, what: str, size: int) -> bool:
        if self._room[what] < size:
            return False
        self._room[what] -= size
        return True


def _texts(old: Version, new: Version, edits: _Edits, contents: tuple[bytes, ...]) -> _Body:
    """The body, with the documents' texts as near to the old ones as they come."""
    edit = (tuple(edits.gone), tuple(edits.added), contents)
    if len(old.refs.layers) == len(new.refs.layers) == 1:
        config = _swap(new.config, [(new.refs.layers[0], old.refs.layers[0])])
        manifest = _swap(new.manifest, [(n, o) for o, n in _hashes(old, new.refs)])
        short = _Body(
            bytes.fromhex(new.refs.layers[0]),
            b"" if manifest == old.manifest else manifest,
            b"" if config == old.config else config,
            *edit,
        )
        try:
            if _documents(old, short, new.tree, "sha256:" + hashlib.sha256(new.manifest).hexdigest()):
                return short
        except BadBundle:
            pass  # texts that can't be told from one another by their hashes: as they are, then
    return _Body(b"", new.manifest, new.config, *edit)


def _documents(old: Version, body: _Body, tree: Tree, digest: str) -> tuple[bytes, bytes, bytes]:
    """Manifest, config and tree of the new image, checked from its digest down. Raises BadBundle."""
    config, manifest = body.config or old.config, body.manifest or old.manifest
    text = tree.encode()
    refs = Refs(hashlib.sha256(config).hexdigest(), (body.layer.hex(),), hashlib.sha256(text).hexdigest())
    if body.layer:
        if len(old.refs.layers) != 1:
            raise BadBundle("it was made for an image of another form")
        config = _swap(config, [(old.refs.layers[0], body.layer.hex())])
        refs = Refs(hashlib.sha256(config).hexdigest(), refs.layers, refs.tree)
        manifest = _swap(manifest, _hashes(old, refs))
    if hashlib.sha256(manifest).hexdigest() != hash_of(digest):
        raise BadBundle(f"it leads to another image than {digest[:19]}")
    named = parse_manifest(manifest)
    if named.config != refs.config or named.tree != refs.tree:
        raise BadBundle(f"its config or tree is not what {digest[:19]} names")
    return manifest, config, text


def _hashes(old: Version, new: Refs) -> list[tuple[str, str]]:
    """What stands in the old manifest, and what stands there in the new one."""
    was = old.refs
    return [(was.config, new.config), (was.layers[0], new.layers[0]), (was.tree, new.tree)]


def _swap(text: bytes, pairs: Iterable[tuple[str, str]]) -> bytes:
    for before, after in pairs:
        if before and len(after) == len(before):
            text = text.replace(before.encode(), after.encode())
    return text


def _tree(old: Tree, bundle: _Bundle, body: _Body) -> Tree:
    """The new tree, as the bundle tells it. What it must be is the manifest's to say."""
    contents = iter(body.contents)
    entries: list[Entry | None] = list(old.entries)
    try:
        for at in bundle.known:
            if at < len(entries):
                entries[at] = _with(old.entries[at], next(contents))
        for patch in bundle.patches:
            was = old.entries[patch.index]
            entries[patch.index] = Entry(was.path, "f", was.mode, sha256=patch.sha256.hex(), size=patch.size)
        for at in body.gone:
            entries[at] = None
        added = [_added(each, old, contents) for each in body.added]
    except (StopIteration, IndexError):
        raise BadBundle("it has too few contents, or names a file that the old version doesn't have") from None
    if next(contents, None) is not None:
        raise BadBundle("it has more contents than files")
    kept = [entry for entry in entries if entry is not None]
    if added:
        kept = sorted(kept + added, key=lambda entry: entry.path)
    if len(kept) > MAX_ENTRIES:
        raise BadBundle("its tree has too many entries")
    return Tree(tuple(kept))


def _added(each: _Added, old: Tree, contents: Iterable[bytes]) -> Entry:
    kind, mode = _CODES[each.code]
    empty = Entry(each.path, kind, mode)  # type: ignore[arg-type]
    match each.what:
        case str(link) if kind == "l":
            return msgspec.structs.replace(empty, link=link)
        case int(at) if kind == "f":
            return msgspec.structs.replace(empty, sha256=old.entries[at].sha256, size=old.entries[at].size)
        case _Left(sha256, size) if kind == "f":
            return msgspec.structs.replace(empty, sha256=sha256.hex(), size=size)
        case None if kind == "f":
            return _with(empty, next(iter(contents)))
        case None if kind == "d":
            return empty
    raise BadBundle("an entry of its tree is none")


def _with(entry: Entry, data: bytes) -> Entry:
    return Entry(entry.path, "f", entry.mode, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _dictionary(old: Version, known: Iterable[int], read: Read) -> bytes:
    parts = [old.manifest, old.config]
    for at in known:
        parts.append(old.tree.encode() if at == len(old.tree.entries) else read(old.tree.entries[at].sha256))
    return b"".join(parts)


def _pack(data: bytes, dictionary: bytes, level: int) -> bytes:
    """One frame without its magic number; its head tells the size."""
    total = len(data) + len(dictionary)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        dict_size=len(dictionary),
        window_log=max(10, min(27, total.bit_length())),
        write_checksum=False,
        write_dict_id=False,
    )
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    packed = zstandard.ZstdCompressor(compression_params=parameters, dict_data=known).compress(data)
    return packed.removeprefix(_MAGIC)


def _unpack(frame: bytes, dictionary: bytes, most_bytes: int) -> bytes:
    """Nothing is unpacked that says to be larger than `most_bytes`, and no more than it says. Raises BadBundle."""
    frame = _MAGIC + frame
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    try:
        told = zstandard.get_frame_parameters(frame)
        if not 0 <= told.content_size <= most_bytes or told.dict_id:
            raise BadBundle(f"a part of it says that it unpacks to {told.content_size} bytes, {most_bytes} are allowed")
        return zstandard.ZstdDecompressor(dict_data=known).decompress(frame, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise BadBundle(f"it can't be unpacked: {error}") from None


def _decode(data: bytes, shape: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=shape)
    except UNREADABLE as error:
        raise BadBundle(f"it is not well formed: {error}") from None


def version_of(digest: str, read: Read) -> Version:
    """The documents of an image that is here. Raises BadImage, and what `read` raises."""
    manifest = read(hash_of(digest))
    refs = parse_manifest(manifest)
    return Version(manifest, read(refs.config), parse_tree(read(refs.tree)))
