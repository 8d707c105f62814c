"""Pictures that another arm has prepared are linked, only where they are whole and of the very same parameters."""

from nsfast.pipeline.profile import resolve
from nsfast.pipeline.run_folder import images_stand
from nsfast.pipeline.runner import run_profile
from nsfast.study.share import share_images

ID = "unlabeled.ids.npy"


def test_pictures_are_linked_where_they_are_the_same_and_whole(tmp_path):
    profile, other = resolve("digits"), resolve("digits", ("data.no_class=0.5",))
    first, damaged, run = (tmp_path / name for name in ("first", "damaged", "run"))
    run_profile(first, profile, until="images")
    assert share_images(damaged, profile, [first, damaged])
    (damaged / "images" / ID).unlink()
    (damaged / "images" / ID).write_bytes(b"other pictures")
    assert (first / "images" / ID).read_bytes() != b"other pictures"

    assert not share_images(run, other, [first, damaged]) and not share_images(run, profile, [damaged])
    assert not run.exists(), "nothing is begun in vain"
    assert share_images(run, profile, [damaged, first]) and images_stand(run, profile)
    for path in (first / "images").glob("*.*"):
        assert path.name.startswith(".") or (run / "images" / path.name).stat().st_ino == path.stat().st_ino
    assert not share_images(run, profile, [first]), "what stands is left"
    run_profile(run, profile, until="images")
    assert (run / "images" / ID).stat().st_ino == (first / "images" / ID).stat().st_ino
