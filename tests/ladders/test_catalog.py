import pickle
import time
from pathlib import Path

import pytest

from ladders import catalog
from ladders.errors import InvalidRecipe, UnknownRecipe
from ladders.model import Recipe
from ladders.reading import MAX_BYTES

PACKAGED = ("archive", "audio", "av1", "avatar", "hevc", "preview", "social", "standard", "web")
GOOD = """
name: mine
video:
  rungs:
    - {name: 360p, width: 640, height: 360, crf: 23}
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def all_packaged() -> list[Recipe]:
    return [catalog.load_preset(name) for name in catalog.names()]


def test_every_packaged_recipe_is_valid_and_described() -> None:
    recipes = {recipe.name: recipe for recipe in all_packaged()}

    assert tuple(recipes) == catalog.names() == PACKAGED
    assert all(recipe.description for recipe in recipes.values())


def test_the_packaged_ladders_have_exact_sixteen_to_nine_rungs() -> None:
    for recipe in all_packaged():
        for rung in recipe.video.rungs if recipe.video else ():
            assert rung.width * 9 == rung.height * 16, rung


def test_a_recipe_of_the_users_is_read_from_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)

    assert catalog.Recipes().find(str(path)) == catalog.load_file(path)
    assert catalog.load_file(path).name == "mine"


def test_a_farm_offers_the_recipes_of_a_folder_beside_the_packaged_ones(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    (tmp_path / "preview.yaml").write_text(GOOD.replace("mine", "preview"))
    (tmp_path / "notes.txt").write_text("no recipe")
    recipes = catalog.Recipes(tmp_path)

    assert recipes.names == tuple(sorted([*PACKAGED, "mine"]))
    assert recipes.get("mine") == catalog.load_file(tmp_path / "mine.yaml")
    assert recipes.get("preview") == catalog.load_file(tmp_path / "preview.yaml"), "the own one wins"
    assert recipes.get("standard") == catalog.load_preset("standard")
    with pytest.raises(UnknownRecipe, match="did you mean mine"):
        recipes.get("mime")
    with pytest.raises(UnknownRecipe):
        recipes.get("./mine.yaml")


def test_a_folder_with_a_broken_recipe_is_refused_whole(tmp_path: Path) -> None:
    written(tmp_path, GOOD.replace("mine", "yours"))
    with pytest.raises(InvalidRecipe, match="both must be the same"):
        catalog.Recipes(tmp_path)
    with pytest.raises(UnknownRecipe, match="there is no folder"):
        catalog.Recipes(tmp_path / "gone")


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UnknownRecipe, match=r"did you mean standard.*known: archive, audio, av1"):
        catalog.Recipes().find("standrad")


@pytest.mark.parametrize("name", ["../standard", "./mine.yaml", "mine.yaml", "", "standard\n", "x" * 10_000])
def test_a_preset_is_never_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UnknownRecipe) as caught:
        catalog.load_preset(name)
    assert len(caught.value.public_message) < 300


@pytest.mark.parametrize("path", ["gone.yaml", "/dev/zero", "/"])
def test_a_file_that_is_none_is_an_unknown_recipe(path: str) -> None:
    with pytest.raises(UnknownRecipe, match=path):
        catalog.load_file(Path(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "video: {codec: {name: h264, presett: fast}, rungs: []}",
            "video.codec.presett: unknown key; did you mean preset",
        ),
        ("videos: {}", "videos: unknown key; did you mean video? allowed: audio, description"),
        ("video: {codec: {name: vp9}, rungs: []}", "video.codec.name: should be one of 'h264', 'hevc', 'av1'"),
        ("video: {codec: {preset: fast}, rungs: []}", "video.codec.name: missing"),
        ("video: {codec: {name: h264, preset: fsat}, rungs: []}", "video.codec.preset: should be 'ultrafast', "),
        ("video: {rungs: [{name: a, width: 640, height: 360}]}", "video.rungs[0].crf: missing"),
        (
            "video: {rungs: [{name: a, width: 640, height: 360, crf: yes}]}",
            "video.rungs[0].crf: should be a valid number",
        ),
        (
            "video: {rungs: [{name: 720, width: 640, height: 360, crf: 1}]}",
            "video.rungs[0].name: should be a valid string",
        ),
        (
            "video: {rungs: [{name: a, width: 641, height: 360, crf: 1}]}",
            "video.rungs[0].width: should be a multiple of 2",
        ),
        (
            "video: {rungs: [{name: a, width: 640, height: 360, crf: .nan}]}",
            "video.rungs[0].crf: should be a finite number",
        ),
        ("video: {rungs: []}", "video.rungs: Tuple should have at least 1 item"),
        ("vmaf: off", "vmaf: should be 'off', 'sampled' or 'full'"),  # YAML reads `off` as a boolean
        ("description: a\ndescription: b", "line 3: description stands twice"),
        ("video: &x {rungs: *x}", "aliases are not allowed"),
        ("? [a]\n: 1", "a key must be one word"),
        ("video: !!python/object/apply:os.abort []", "could not determine a constructor"),
        ("video: [", "line 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"name: mine\n{line}\n")

    with pytest.raises(InvalidRecipe) as caught:
        catalog.load_file(path)

    message = caught.value.public_message
    assert said in message
    assert str(path) in message
    assert "farm recipes check" in message


def test_one_wrong_entry_is_one_problem(tmp_path: Path) -> None:
    path = written(tmp_path, "name: mine\nvideo: {rungs: [{name: a, width: 640, height: 360}]}\n")

    with pytest.raises(InvalidRecipe) as caught:
        catalog.load_file(path)

    assert caught.value.detail["problems"] == ["video.rungs[0].crf: missing"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff\xfe\x00",
        b"[" * 30_000,
        b"{a: " * 15_000,
        b"- " * 30_000,
        b"name: " + b"x" * MAX_BYTES,
        b"a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]",
        b"name: !!binary aGVsbG8=",
        b"audio: 1e400",
        b"audio: " + b"9" * 5_000,
        b"x: \x00",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_a_hostile_file_is_refused_quickly(tmp_path: Path, data: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidRecipe) as caught:
        catalog.load_file(written(tmp_path, data))

    assert time.monotonic() - started < 5
    assert len(caught.value.public_message) < 1000


def test_recipe_errors_survive_another_process() -> None:
    error = InvalidRecipe("mine.yaml: no", detail={"problems": ["no"]})

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is InvalidRecipe
    assert copy.to_wire() == error.to_wire()
    assert copy.to_wire()["code"] == "invalid_recipe"
