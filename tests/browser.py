"""A page in a headless browser, in a frame of a phone's or a desk's width."""

import json
import re
import shutil
import subprocess
from html import escape

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
PHONE = 390

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is here"
)

# Runs in the page's own frame, of a phone's width, and tells the frame around it.
PROBE = """<script>
const failed = [];
addEventListener("error", (event) => failed.push(String(event.target.src)), true);
addEventListener("load", () => parent.postMessage(JSON.stringify({
  failed, width: innerWidth,
  overflow: document.documentElement.scrollWidth - innerWidth,
  asked: performance.getEntriesByType("resource").map((entry) => entry.name),
  images: [...document.images].map((image) => image.naturalWidth),
  formulas: [...document.querySelectorAll("math")].map((math) => math.clientHeight),
}), "*"));
</script>"""
FRAME = """<!doctype html><body><script>
addEventListener("message", (event) => {{
  const note = document.createElement("script");
  note.type = "probe";
  note.textContent = event.data;
  document.body.append(note);
}});
</script><iframe src="{name}" width="{width}" height="900" frameborder="0"></iframe>"""


def browse(path, width, probe=PROBE, place=""):
    """Load a page in the browser; return what its probe found and the console said.

    place: a hash, where the page is to open.
    """
    probed, frame = path.with_name("probed.html"), path.with_name("frame.html")
    text = path.read_text(encoding="utf-8")
    assert "<head>" in text
    probed.write_text(text.replace("<head>", f"<head>{probe}", 1))
    frame.write_text(FRAME.format(name=escape(probed.name + place), width=width))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"]
    command += ["--window-size=1400,1000", f"--user-data-dir={path.parent / 'profile'}"]
    done = subprocess.run(
        [*command, frame.as_uri()], capture_output=True, text=True, timeout=120
    )
    probed.unlink()
    frame.unlink()
    found = re.search(r'<script type="probe">(.*?)</script>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(found[1]), said
