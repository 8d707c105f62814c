"""`nsfast explore`: what it writes and refuses, that its page is for nobody else, and that a choice has its effect."""

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from nsfast.cli import explore as command_of
from nsfast.cli.explore import CELL, write_notebook
from nsfast.errors import NsfastError
from nsfast.explore.voila.serve import free_port, policy
from nsfast.files import read_csv
from nsfast.pipeline.exploring import explore_run, write_choice
from nsfast.pipeline.run_folder import read_run
from nsfast.pipeline.runner import plan
from tests.runs import fronts

RUN = "runs/digits"


def one_line(done) -> str:
    """What a command that was refused says."""
    assert done.stderr.startswith("nsfast: ") and done.stderr.count("\n") == 1
    return done.stderr


def files_of(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_what_cannot_be_explored_is_refused_in_one_line_and_nothing_is_written(
    copy_of_finished, command_here, monkeypatch
):
    def refused(*arguments) -> str:
        return one_line(command_here("explore", *arguments, cwd=copy_of_finished, expect=2))

    (copy_of_finished / "broken.csv").write_text("id,class\n1,2\n")
    shutil.copytree(copy_of_finished / RUN, copy_of_finished / "new")
    (copy_of_finished / "new/round-1/labels/manifest.json").unlink()
    before = files_of(copy_of_finished)
    assert "no label table in nowhere" in refused("nowhere")
    assert "confidence" in refused("broken.csv")
    assert "give 1 to 1 instead of 2" in refused(RUN, "--round", 2)
    assert "is labeled yet; label with: nsfast run" in refused("new")
    assert "whose pictures are known" in refused(RUN, "--images", "pictures")
    assert "it has no profile.yaml); leave --round out" in refused("broken.csv", "--round", 1)
    assert "--port 70000 cannot be used" in refused(RUN, "--app", "--port", 70000)
    monkeypatch.setattr(command_of, "find_spec", lambda name: None)
    assert 'jupyterlab is not installed; install it with: pip install "nsfast[lab]"' in refused(RUN)
    assert 'voila is not installed; install it with: pip install "nsfast[voila]"' in refused(RUN, "--app")
    assert files_of(copy_of_finished) == before


def test_html_is_one_page_without_anything_from_outside_and_nothing_else_is_written(
    copy_of_finished, command_here
):
    before = files_of(copy_of_finished)
    done = command_here("explore", RUN, "--html", "page.html", cwd=copy_of_finished)
    assert done.stdout.splitlines()[-1] == "the explorer is in page.html"
    after = files_of(copy_of_finished)
    assert set(after) - set(before) == {"page.html"} and before.items() <= after.items()
    page = (copy_of_finished / "page.html").read_text()
    assert "data:image/png;base64," in page and len(page) < 2_000_000
    for outside in ('src="http', "src='http", 'href="http', "url(http", "@import"):
        assert outside not in page


def test_a_table_alone_is_written_as_a_page(copy_of_finished, command_here):
    labels = f"{RUN}/round-1/labels"
    command_here("explore", labels, "--html", "page.html", cwd=copy_of_finished)
    command_here(
        "explore",
        labels,
        "--images",
        f"{RUN}/images/unlabeled.npy",
        "--html",
        "pictures.html",
        cwd=copy_of_finished,
    )
    without, with_pictures = ((copy_of_finished / f"{n}.html").stat().st_size for n in ("page", "pictures"))
    assert 10_000 < without < with_pictures


def test_the_notebook_opens_the_run_beside_it_and_keeps_what_a_person_added(tmp_path):
    (tmp_path / "run").mkdir()
    path = write_notebook(tmp_path / "run", True, {"round": 2, "student": True})
    assert path == tmp_path / "run/explore.ipynb" and files_of(tmp_path).keys() == {"run/explore.ipynb"}
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    assert [cell.cell_type for cell in found.cells] == ["markdown", "code"]
    assert found.cells[1].source.endswith("explore_run('.', round=2, student=True)")
    assert str(tmp_path) not in path.read_text()
    found.cells.append(nbformat.v4.new_code_cell("mine = 1"))
    nbformat.write(found, path)
    write_notebook(tmp_path / "run", True, {"round": 1})
    again = nbformat.read(path, as_version=4)
    assert [cell.source.split("\n")[-1] for cell in again.cells[1:]] == [
        "explore_run('.', round=1)",
        "mine = 1",
    ]
    assert nbformat.read(write_notebook(tmp_path / "run", True, {"round": 1}), as_version=4) == again
    path.write_text("{}")
    with pytest.raises(NsfastError, match="explore.ipynb is there and is not this command's; move it away"):
        write_notebook(tmp_path / "run", True, {})
    assert path.read_text() == "{}"


def test_a_hostile_name_stays_a_name_in_the_notebook(tmp_path, monkeypatch):
    name = "<img src=x onerror=alert(1)>'); import os #"
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    path = write_notebook(Path(name), False, {"images": "it's\n"})
    text, code = nbformat.read(path, as_version=4).cells
    assert "<img" not in text.source and code.id == CELL
    import ast

    call = ast.parse(code.source).body[-1].value
    assert [word.value for word in call.args] == [name] and call.keywords[0].value.value == "it's\n"
    again = nbformat.read(write_notebook(Path("other"), False, {}), as_version=4)
    assert "of other: try" in again.cells[0].source and again.metadata.title.endswith("of other")


def test_a_choice_written_by_the_explorer_runs_balancing_and_what_stands_behind_it(copy_of_finished):
    run = (copy_of_finished / RUN).resolve()
    assert {state for _, state in plan(run, read_run(run))} == {"stands"}
    explorer = explore_run(run)
    explorer.threshold = 0.55
    said = explorer.write_parameters()
    states = {stage.name: state for stage, state in plan(run, read_run(run))}
    assert [name for name, state in states.items() if state == "runs"] == ["round-1/balancing"]
    behind = {"round-1/student", "iterate", "analysis"}
    assert {n for n, state in states.items() if state == "runs if what it reads changes"} == behind
    assert [word for word in said.split("go on with: nsfast run ")[1].split()] == [
        str(run / "profile.yaml"),
        "--run",
        str(run),
    ]


@pytest.mark.slow
def test_the_command_that_the_explorer_names_balances_again(copy_of_finished, command_here):
    run = (copy_of_finished / RUN).resolve()
    labels = (run / "round-1/labels/manifest.json").read_bytes()
    said = write_choice(run, {"threshold": 0.55, "per_class": 25, "method": "top"})
    words = said.split("go on with: nsfast ")[1].split()
    done = command_here(*words, "--until", "balancing", cwd=copy_of_finished)
    assert "round-1/balancing: finished" in done.stdout and "teacher: started" not in done.stdout
    used = json.loads((run / "round-1/stage.json").read_text())["balancing"]["parameters"]
    assert (used["threshold"], used["per_class"], used["method"]) == (0.55, 25, "top")
    assert {row["seen"] for row in read_csv(run / "round-1/balance.csv")} <= {0, 25}
    assert (run / "round-1/labels/manifest.json").read_bytes() == labels


def test_executed_notebooks_hold_a_picture_of_the_explorer_and_no_widget(finished):
    for name in ("02_labeling", "03_balancing"):
        path = finished[0] / RUN / "round-1" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        (cell,) = [c for c in notebook.cells if c.source.endswith("stage.explorer(labels)")]
        (shown,) = [output for output in cell.outputs if output.output_type == "execute_result"]
        assert set(shown.data) == {"image/png", "text/plain"}
        assert "pseudo-labels kept" in shown.data["text/plain"]
        assert path.stat().st_size < 1_000_000 and "widgets" not in notebook.metadata


def test_a_port_that_is_in_use_is_refused():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(NsfastError, match="cannot be used .*; give another one"):
            free_port(busy.getsockname()[1])
    assert free_port() != 0


WIDGETS = """import anywidget, ipywidgets
class Own(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.className = 'nsf-own'; el.textContent = 'here'; } }"
ipywidgets.VBox([ipywidgets.IntSlider(), Own()])"""
WRONG = """import warnings; warnings.warn('noise')
from nsfast.errors import NsfastError
raise NsfastError('no <b>run</b>')"""
SERVE = """from pathlib import Path
from nsfast.explore.voila.serve import free_port, serve
serve(Path('explore.ipynb'), free_port(), False)"""


@contextmanager
def serving(code: str, folder: Path, environment: dict[str, str]):
    """A page of one cell: where it is, with the token."""
    about = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": about, "title": "Pseudo-labels of <i>digits</i>"}
    cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "explore.ipynb")
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    places = fronts.own_places(folder, environment)
    server = subprocess.Popen([sys.executable, "-c", SERVE], cwd=folder, env=places, text=True, **pipes)
    try:
        start = server.stdout.readline().split()[-1]
        for _ in range(200):
            if status_of(start.partition("?")[0]):
                break
            time.sleep(0.2)
        yield start
    finally:
        server.send_signal(signal.SIGINT)  # Ctrl-C
        assert server.wait(60) == 0
        server.stdout.close()
    assert not connections(folder)


def status_of(url: str, method: str = "GET") -> tuple[int, str] | None:
    """Status and final address of a request; None where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
            return answer.status, answer.url
    except urllib.error.HTTPError as error:
        return error.code, url
    except urllib.error.URLError:
        return None


def connections(folder: Path) -> list[str]:
    """The kernels that have a connection file."""
    return [path.stem.removeprefix("kernel-") for path in folder.rglob("kernel-*.json")]


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_is_for_who_has_the_token_asks_nobody_else_and_ends_its_kernels(tmp_path, plain_environment):
    fronts.require_browser()
    (tmp_path / "a.png").write_bytes(b"picture")
    with serving(WIDGETS, tmp_path, plain_environment) as start:
        address = start.partition("/?")[0]
        for path in ("", "?token=wrong", "explore.ipynb", "api/kernels"):
            assert status_of(f"{address}/{path}")[1].startswith(f"{address}/login")
        assert status_of(f"{address}/voila/files/a.png")[0] == 403
        assert not connections(tmp_path)
        with fronts.visiting(fronts.VOILA, start) as visit:
            visit.open()
            visit.page.locator(".nsf-own", has_text="here").wait_for(timeout=60_000)
            visit.screenshot("page")
            assert visit.page.title() == "Pseudo-labels of <i>digits</i>"
            assert not visit.page.locator(".jp-InputArea-editor").count()
            (kernel,) = connections(tmp_path)
            own = f"{address}/api/kernels/{kernel}"
            assert status_of(own)[0] == status_of(own, "DELETE")[0] == 403
            assert status_of(f"{address}/voila/api/shutdown/{kernel}", "POST")[0] == 403
            assert not opens(visit.page, f"{own}/channels", cookies=False)
            assert opens(visit.page, f"{own}/channels", cookies=True)
            assert not visit.errors
            assert not reaches_another_server(visit.page)
            visit.errors.clear()
            visit.open()  # another kernel; the first has ended with its page
            visit.page.locator(".nsf-own", has_text="here").wait_for(timeout=60_000)
            assert len(connections(tmp_path)) == 1 and connections(tmp_path) != [kernel] and not visit.errors


def reaches_another_server(page) -> bool:
    """Whether a script of the page is let out to where somebody listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(1)
        url = f"http://127.0.0.1:{other.getsockname()[1]}/"
        page.evaluate("url => { fetch(url, {mode: 'no-cors'}).catch(() => 0); }", url)
        try:
            other.accept()[0].close()
        except TimeoutError:
            return False
        return True


def opens(page, url: str, cookies: bool) -> bool:
    """Whether a socket opens, with the page's cookies or in a window that has none."""
    window = page if cookies else page.context.browser.new_context().new_page()
    if not cookies:
        window.goto(f"{url.partition('/api')[0]}/login")
    script = """url => new Promise(done => {
        const socket = new WebSocket(url.replace('http', 'ws'));
        socket.onopen = () => { socket.close(); done(true); };
        socket.onerror = () => done(false);
    })"""
    return window.evaluate(script, url)


@pytest.mark.slow
def test_an_error_of_the_notebook_is_one_line_of_the_page(tmp_path, plain_environment):
    with serving(WRONG, tmp_path, plain_environment) as start:
        with urllib.request.urlopen(start, timeout=120) as answer:
            page = answer.read().decode()
        assert connections(tmp_path)
    (shown,) = page.partition('role="alert">')[2].partition("</div>")[0].strip().splitlines()
    assert shown == "<pre>no &lt;b&gt;run&lt;/b&gt;</pre>"
    assert "Traceback" not in page and "noise" not in page
    assert "cdn." not in page and "https://" not in page.partition("<body")[2]


def test_the_page_may_ask_its_own_server_alone():
    rules = dict(rule.strip().split(" ", 1) for rule in policy(8866).split(";"))
    assert rules["default-src"] == "'self' data: blob:"
    for rule, sources in rules.items():
        for source in sources.split():
            assert source in (
                "'self'", "'none'", "data:", "blob:", "'unsafe-inline'", "'unsafe-eval'",
                "ws://127.0.0.1:8866", "ws://localhost:8866",
            ), rule  # fmt: skip


@pytest.mark.slow
def test_without_app_jupyterlab_opens_the_notebook_beside_the_run(copy_of_finished, plain_environment):
    port = fronts.free_port()
    line = ["-m", "nsfast.cli", "explore", RUN, "--no-browser", "--port", str(port)]
    with open(copy_of_finished / "said", "w+") as said:
        places = fronts.own_places(copy_of_finished, plain_environment)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
        server = subprocess.Popen([sys.executable, *line], cwd=copy_of_finished, env=places, **pipes)
        try:
            for _ in range(300):
                if (answer := status_of(f"http://127.0.0.1:{port}/lab")) or server.poll() is not None:
                    break
                time.sleep(0.2)
            assert answer[1].startswith(f"http://127.0.0.1:{port}/login")  # behind a token
        finally:
            server.terminate()
            server.wait(30)
    assert f"http://127.0.0.1:{port}/lab/tree/explore.ipynb?token=" in (copy_of_finished / "said").read_text()
    assert (copy_of_finished / RUN / "explore.ipynb").is_file()
