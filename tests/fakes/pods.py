"""Containers of Kubernetes and of Compose, run over an image that was built here.

As the objects say: command, user, variables, mounts, a root that is read-only; nothing else of the
machine is written to. Volumes that a pod makes itself are empty folders that live as long as it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fakes.image_builder import Builder, Stage


@dataclass
class Pod:
    """One pod, whose containers run one after the other.

    Args:
        spec: of the pod.
        builder: that built the image.
        image: what all of its containers run.
        folder: for volumes that the pod makes.
        given: folders for volumes that come from elsewhere, by the volume's name.
    """

    spec: Mapping[str, Any]
    builder: Builder
    image: Stage
    folder: Path
    given: Mapping[str, Path] = field(default_factory=dict)

    def container(self, name: str) -> Mapping[str, Any]:
        """One of its containers."""
        every = [*self.spec.get("initContainers", ()), *self.spec["containers"]]
        found: Mapping[str, Any] = next(item for item in every if item["name"] == name)
        return found

    def command(self, name: str, command: Sequence[str] = ()) -> list[str]:
        """What starts a container, or another command in it."""
        container = self.container(name)
        context = self.spec["securityContext"]
        own = container["securityContext"]
        assert context["runAsNonRoot"]
        assert not own["allowPrivilegeEscalation"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        variables = {
            item["name"]: item["value"] for item in container.get("env", ()) if "value" in item
        }
        return self.builder.command(
            replace(self.image, env={**self.image.env, **variables}),
            command or self._started(container),
            user=f"{context['runAsUser']}:{context['runAsGroup']}",
            mounts=self._mounts(container),
            cwd=self.image.workdir,
            read_only=own["readOnlyRootFilesystem"],
        )

    def _started(self, container: Mapping[str, Any]) -> Sequence[str]:
        if "command" in container:
            return [*container["command"], *container.get("args", ())]
        return [*self.image.entrypoint, *container.get("args", self.image.command)]

    def _mounts(self, container: Mapping[str, Any]) -> str:
        volumes = {item["name"]: item for item in self.spec["volumes"]}
        lines = []
        for mount in container["volumeMounts"]:
            source = self._source(volumes[mount["name"]]) / mount.get("subPath", "")
            inside = f"@ROOT@{shlex.quote(mount['mountPath'])}"
            lines += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(str(source))} {inside}"]
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {inside}")
        return "\n".join(lines)

    def _source(self, volume: Mapping[str, Any]) -> Path:
        if "emptyDir" not in volume:
            return self.given[volume["name"]]
        made = self.folder / str(volume["name"])
        made.mkdir(parents=True, exist_ok=True)
        made.chmod(0o777)
        return made


def compose_command(
    service: Mapping[str, Any], builder: Builder, image: Stage, command: Sequence[str] = ()
) -> list[str]:
    """What starts a service, or another command in it: nothing of it outlives the command."""
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    lines = []
    for entry in service["tmpfs"]:
        place, _, options = entry.partition(":")
        inside = f"@ROOT@{shlex.quote(place)}"
        how = f"-o {options}" if options else ""
        lines += [f"mkdir -p {inside}", f"mount -t tmpfs {how} tmpfs {inside}"]
    return builder.command(
        image,
        command or [*image.entrypoint, *service.get("command", image.command)],
        user=service["user"],
        mounts="\n".join(lines),
        cwd=image.workdir,
        read_only=service["read_only"],
    )
