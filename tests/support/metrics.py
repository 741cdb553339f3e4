"""Reading a program's page of numbers as a test asks for them."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def fetch(port: int, path: str = "/metrics") -> tuple[int, str]:
    """Status and text of a page at 127.0.0.1; raises OSError if nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def total(port: int, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels; 0 if there is none."""
    _, text = fetch(port)
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
