"""Every command that the README gives to the person on call does what it is given for, beside a running service."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outbox.records import Entry
from outbox.states import State
from tests.support.child import Child
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

#: Programs that run until they are stopped, and what they say when they are at work.
SERVING = {"dramatiq worker.actors": "booting up", "python -m worker.ingest": "Subscribed to topic"}


def section(title: str) -> str:
    """What the README says under this title."""
    return (ROOT / "README.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def questions() -> dict[str, list[str]]:
    """The commands by the question that they answer."""
    answers: dict[str, list[str]] = {}
    for question, block in re.findall(
        r"\*\*([^*]+?)[.?]*\*\*(?:(?!\*\*).)*?```sh\n(.*?)```", section("When something happens"), re.DOTALL
    ):
        answers[question] = [line.partition("  #")[0].strip() for line in block.splitlines()]
    return answers


def test_the_readme_answers_what_is_asked_at_night(pipeline: Pipeline) -> None:
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    refused = {"businessId": 1, "monthlyNetSales": "mas_6_smmlv"}
    pipeline.send(
        [
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1)),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}),
            a_message("refused", "CREATE", "Finance", {"id": 1, **refused}),
            a_message("unknown", "UPDATE", "Business", {"id": 1, "colour": "green"}),
        ],
        partitions=1,
    )
    pipeline.service.start()
    counts = pipeline.wait_until_settled()
    assert (counts.applied, counts.dead) == (2, 2)
    answers = questions()
    assert len(answers) == 6 and SITUATIONS.keys() < answers.keys()

    for question, commands in answers.items():
        with SITUATIONS.get(question, a_letter)(pipeline) as operation_id:
            for command in commands:
                run(pipeline, command, operation_id)

    # What only its own mending could bring back died again, also when it was sent anew, the backlog is worked off, what was
    # sent by hand is there, and all can see who did what.
    assert pipeline.wait_until_settled(16).applied == 13
    assert {"refused", "unknown"} < pipeline.dead_letters().keys() and len(pipeline.dead_letters()) == 3
    assert pipeline.query("SELECT nombre FROM usuarios") == [("Ana",)]
    audit = output_of(pipeline, "python -m outbox audit --json")
    assert "the column was mended" in audit and "the model knows the column now" in audit


def test_every_command_of_the_desks_list_does_what_it_says(pipeline: Pipeline) -> None:
    pipeline.send([a_message(f"bad-{number}", "CREATE", "User", a_user("nobody")) for number in range(6)])
    pipeline.service.start()
    pipeline.wait_until_settled()
    (listed,) = re.findall(r"```\n(python -m outbox status.*?)```", section("Operating it"), re.DOTALL)
    commands = [line.partition("  #")[0].strip() for line in listed.splitlines()]
    assert len(commands) == 11 and all(command.startswith("python -m outbox ") for command in commands)
    letters = iter(sorted(pipeline.dead_letters()))

    for command in commands:
        if command.split()[-1] == "ID" or " ID " in command:
            command = command.replace(" ID", f" {pipeline.dead_letters()[next(letters)].entry_id}")
        output_of(pipeline, command.replace("FILE", "letters.jsonl"), EDITOR="sed -i s/nobody/ana@example.co/")

    counts = pipeline.wait_until_settled()
    assert (counts.dead, counts.discarded) == (5, 1)
    actions = [json.loads(line) for line in output_of(pipeline, "python -m outbox audit --json").splitlines()]
    assert [(one["action"], one["why"]) for one in reversed(actions)] == [
        ("edit", "edited by the operator"),
        ("replay", "mended"),
        ("discard", "not wanted"),
        ("export", "to letters.jsonl"),
    ]
    (edited,) = [letter for letter in pipeline.dead_letters().values() if b"ana@example.co" in letter.raw]
    assert edited.came_as is not None


@contextmanager
def a_letter(pipeline: Pipeline) -> Iterator[str]:
    yield "refused"


@contextmanager
def a_letter_that_names_a_new_column(pipeline: Pipeline) -> Iterator[str]:
    yield "unknown"


@contextmanager
def a_backlog(pipeline: Pipeline) -> Iterator[str]:
    """Without actors; the README's own command has more of them work it off."""
    pipeline.service.actors.stop()
    names = [f"La Esquina {number}" for number in range(10)]
    updates = [a_message(name, "UPDATE", "Business", {"id": 1, "name": name}) for name in names]
    pipeline.send(updates[:1], partitions=1)
    eventually(lambda: pipeline.counts().dispatched == 1, 30, "the first is on its way", ignoring=(OSError,))
    pipeline.send(updates[1:], partitions=1)
    eventually(lambda: pipeline.counts().pending == 9, 30, "nine wait for it", ignoring=(OSError,))
    yield names[-1]
    pipeline.service.start_actors()


@contextmanager
def a_stopped_ingest(pipeline: Pipeline) -> Iterator[str]:
    pipeline.service.ingest.stop()
    yield "refused"
    pipeline.service.start_ingest()


@contextmanager
def a_file_of_operations(pipeline: Pipeline) -> Iterator[str]:
    """The README's own example, in the file that it names."""
    (example,) = re.findall(r"```json\n(.*?)```", section("When something happens"), re.DOTALL)
    (pipeline.service.folder / "operations.jsonl").write_text(example)
    yield "refused"


#: What has happened when a question is asked; else just that a letter lies there.
SITUATIONS = {
    "The backlog grows": a_backlog,
    "I must move this to another host": a_stopped_ingest,
    "Operations are to be sent by hand, or sent again": a_file_of_operations,
    "A column was added": a_letter_that_names_a_new_column,
}


def run(pipeline: Pipeline, command: str, operation_id: str) -> None:
    """Run a command of the README to its end, or until it is at work."""
    serving = next((says for start, says in SERVING.items() if command.startswith(start)), None)
    if serving is not None:
        child = child_of(pipeline, command)
        child.spawn()
        child.wait_for_log(serving)
        pipeline.wait_until_settled()
        child.stop()
        return
    if "GROUP" in command or "ID" in command:
        entry = eventually(lambda: the_entry(pipeline, operation_id), 30, f"{operation_id} waits or is dead again")
        assert entry is not None
        groups = [json.loads(line) for line in output_of(pipeline, "python -m outbox groups --json").splitlines()]
        group = next((group["group"] for group in groups if group["entity"] == entry.entity), "")
        command = re.sub(r"\bID\b", str(entry.entry_id), command.replace("GROUP", group))
    output_of(pipeline, command)


def the_entry(pipeline: Pipeline, operation_id: str) -> Entry | None:
    """The entry of this operation, once it is a dead letter or waits."""
    wanted = (State.DEAD, State.PENDING, State.DISPATCHED)
    return next((e for e in pipeline.entries() if e.operation_id == operation_id and e.state in wanted), None)


def output_of(pipeline: Pipeline, command: str, **environment: str) -> str:
    child = child_of(pipeline, command)
    child.environment = {**(child.environment or {}), **environment}
    child.spawn()
    eventually(lambda: not child.is_running, 60, f"{command} ends")
    output = child.log_file.read_text()
    # a rehearsal says with 1 that not all would be applied
    assert child.exit_code == 0 or (child.exit_code == 1 and "--dry-run" in command), f"{command}\n{output}"
    return output


def child_of(pipeline: Pipeline, command: str) -> Child:
    child = pipeline.service.operator()
    program, *arguments = shlex.split(command)
    name = re.sub(r"\W+", "-", command)[:60]
    executable = [child.command[0]] if program == "python" else [child.command[0], "-m", program]
    made = Child(name, [*executable, *arguments], pipeline.service.folder / f"{name}.log", directory=child.directory)
    made.environment = child.environment
    return made
