"""Apache Kafka as it comes from Maven Central: its jars, fetched once into a cache folder outside the repository.

The broker needs nothing else but Java 17. `mvn` does the fetching, with the machine's own settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.3.1"
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"

# slf4j-simple makes the broker's log appear on stderr; Kafka's own jars bring no logger that prints.
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class JarsMissing(Exception):
    """The jars are not there and could not be fetched; the text says why."""


def jars_folder() -> Path:
    """Where the jars of this version are kept, whether they are there or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "adelante-sumerce-worker" / f"kafka-{KAFKA_VERSION}"


def are_fetched() -> bool:
    return any(jars_folder().glob("kafka_2.13-*.jar"))


def fetch() -> Path:
    """The folder of the jars, fetched first if need be (54 MB, 10 s).

    The folder gets its name only when it is complete, so that an interrupted fetch leaves nothing that looks whole.

    :raises JarsMissing: if Maven is missing or fails.
    """
    folder = jars_folder()
    if are_fetched():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise JarsMissing("Apache Kafka's jars are fetched with Maven, and there is no `mvn`")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as workplace:
        (Path(workplace) / "pom.xml").write_text(POM)
        jars = Path(workplace) / "jars"
        command = [maven, "--batch-mode", "--quiet", f"{MAVEN_PLUGIN}:copy-dependencies"]
        options = [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        result = subprocess.run([*command, *options], cwd=workplace, capture_output=True, text=True)
        if result.returncode != 0:
            raise JarsMissing(f"Maven could not fetch Apache Kafka {KAFKA_VERSION}:\n{result.stdout[-2000:]}")
        shutil.rmtree(folder, ignore_errors=True)
        jars.rename(folder)
    return folder


if __name__ == "__main__":
    print(fetch())
