"""The page of promises says what the tests say."""

import soak_rows


def test_the_page_is_current():
    assert soak_rows.PAGE.read_text(encoding="utf-8") == soak_rows.page(soak_rows.stored()), "run make soak"


def test_every_promise_is_a_sentence_that_a_user_understands():
    for promise in soak_rows.promises():
        assert promise.words.endswith(".") and "|" not in promise.words, promise.test


def test_security_links_to_the_promises_and_names_only_tests_that_exist():
    text = (soak_rows.ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "docs/promises.md" in text and "make soak" in text
    names = {promise.test.partition("::")[2] for promise in soak_rows.promises()}
    named = {word for word in text.replace("`", " ").split() if word.startswith("test_")}
    assert named and named <= names
