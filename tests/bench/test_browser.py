"""The browser of the tests sees what a page does wrong; a page that it finds nothing in has nothing."""

from pathlib import Path

import pytest

from tests.support.chromium import Chromium


@pytest.mark.slow
def test_a_page_that_misbehaves_is_seen(chromium: Chromium, tmp_path: Path) -> None:
    # given
    path = tmp_path / "page.html"
    path.write_text(
        "<link rel='icon' href='data:,'><h1>Title</h1><img src='http://benchmarks.test/x.png'>"
        "<script>console.error('said'); null.thrown</script>"
    )
    # when
    page = chromium.open(path)
    # then
    assert page.evaluate("document.querySelector('h1').textContent") == "Title"
    assert page.requests == ["http://benchmarks.test/x.png"]
    for complaint in ("said", "ERR_NAME_NOT_RESOLVED", "TypeError"):
        assert any(complaint in each for each in page.complaints), page.complaints
    page.close()
