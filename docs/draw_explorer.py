"""Makes the pictures of docs/explorer.md: python docs/draw_explorer.py [RUN]; RUN is a finished digits run.

The explorer is opened in JupyterLab and as an app, in Chromium, on a copy of the run. It needs playwright and chromium.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "runs"))

import fronts  # noqa: E402

CODE = "from nsfast.all import *\n\nexplorer = explore_run('runs/digits', round=2, who='ann')\nexplorer"


def main(run: Path) -> None:
    """Draw every picture into docs/explorer/."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(run, folder / "runs" / "digits")
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        cells = [nbformat.v4.new_code_cell(CODE)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "explore.ipynb")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for kind in (fronts.LAB, fronts.VOILA):
            with fronts.served(kind, folder, environment) as address:
                with fronts.visiting(kind, address, height=1500) as visit:
                    visit.open("explore.ipynb")
                    if kind == fronts.LAB:
                        visit.page.evaluate(
                            "window.jupyterapp.commands.execute('application:toggle-left-area')"
                        )
                        visit.run_all()
                    draw(visit, kind)


def draw(visit: "fronts.Visit", kind: str) -> None:
    """Go to the wrong labels that the teacher was sure of, decide on two, and keep what is seen."""
    page = visit.page
    page.locator(".nsf-tile").first.wait_for(timeout=120_000)
    page.locator(".js-plotly-plot .barlayer .point path").first.wait_for(state="attached", timeout=60_000)
    page.locator(".nsf-view button", has_text="confusion").click()
    page.locator(".nsf-only select").select_option(label="wrong labels")
    page.locator(".nsf-order select").select_option(label="surest first")
    page.wait_for_timeout(1000)
    page.locator(".nsf-tile").nth(1).click()
    for key in ("r", "ArrowRight", "3", "Enter"):
        page.keyboard.press(key)
        page.wait_for_timeout(700)
    page.locator(".nsf-explorer").first.evaluate("page => page.scrollIntoView()")
    page.wait_for_timeout(2500)
    path = HERE / "explorer" / f"{kind}.png"
    path.parent.mkdir(exist_ok=True)
    page.screenshot(path=path)
    small = (
        Image.open(path)
        .convert("RGB")
        .quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    small.save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits"))
