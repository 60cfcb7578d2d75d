"""The files that decided a run, as they were committed: by the repository's own objects, and by nothing else."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.host import shipped
from harness.release import committed_file
from harness.release.committed import committed_files
from harness.run.files import SHIPPED
from tests.support.repositories import MODEL, RIG, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repository")


def reasons(project: Project, rule: str = "HEAD", /, **keys: Any) -> list[str]:
    """Return the reasons against evidence of the project as it is now."""
    _, refusals = committed_files(project.root, project.run(**keys), project.policy(rule))
    assert all(each.remedy for each in refusals)
    assert len({each.reason for each in refusals}) == len(refusals)
    return [each.reason for each in refusals]


def head(project: Project) -> str:
    return project.git("rev-parse", "HEAD")[:12]


def test_shipped_files_are_named_as_a_run_names_them() -> None:
    assert committed_file.SHIPPED == SHIPPED


@pytest.mark.parametrize("commit", ["HEAD", "any"])
def test_files_are_taken_from_the_commit(project: Project, commit: str) -> None:
    files, refusals = committed_files(project.root, project.run(), project.policy(commit))
    assert refusals == []
    found = {file.path: (file.kind, file.name, file.content) for file in files}
    assert found == {
        "../models/net.py": ("model", "net", MODEL),
        "devices/rig.toml": ("device", "rig", RIG),
        "hilgate:local": ("device", "local", (shipped.DEVICES / "local.toml").read_bytes()),
    }


def test_evidence_that_names_no_files_is_refused(project: Project) -> None:
    assert reasons(project, files=[]) == [
        "the evidence does not name the file of the model net",
        "the evidence does not name the file of the device rig",
    ]


def test_two_files_of_one_model_are_refused(project: Project) -> None:
    project.write({"loose.py": MODEL})
    project.commit()
    entries = [project.entry("model", "net", "loose.py"), *project.files()]
    assert reasons(project, files=entries) == [
        "the evidence names several files of the model net: loose.py, ../models/net.py"
    ]


@pytest.mark.parametrize("commit", ["HEAD", "any"])
def test_evidence_of_no_commit_or_of_a_changed_tree_is_refused(project: Project, commit: str) -> None:
    of_head = head(project)
    changed = project.git("rev-parse", "HEAD") + "+changes"
    assert "the evidence is of no commit" in reasons(project, commit, commit=None)
    assert "the evidence's commit is none: '--all'" in reasons(project, commit, commit="--all")
    assert reasons(project, commit, commit=changed) == [
        f"the evidence is of a tree with changes that are not in commit {of_head}"
    ]


def test_another_commit_is_refused_under_head_alone(project: Project) -> None:
    first = project.git("rev-parse", "HEAD")
    project.write({"notes.md": b"later"})
    second = project.commit()
    assert reasons(project, commit=first) == [
        f"the evidence is of commit {first[:12]}, and {second[:12]} is checked out"
    ]
    assert reasons(project, "any", commit=first) == []


CHANGES: dict[str, tuple[Callable[[Project], object], list[str]]] = {
    "changed": (lambda project: project.write({"key.pub": b"another"}), ["robot/key.pub"]),
    "added": (lambda project: project.write({"new.py": b""}), ["robot/new.py"]),
    "removed": (lambda project: (project.root / "key.pub").unlink(), ["robot/key.pub"]),
    "staged": (lambda project: (project.write({"a": b""}), project.git("add", "-A")), ["robot/a"]),
    "hidden from git": (
        lambda project: (
            project.git("update-index", "--assume-unchanged", "robot/key.pub"),
            project.write({"key.pub": b"another"}),
        ),
        ["robot/key.pub"],
    ),
    "skipped by git": (
        lambda project: (
            project.git("update-index", "--skip-worktree", "robot/key.pub"),
            project.write({"key.pub": b"another"}),
        ),
        ["robot/key.pub"],
    ),
    "a mode": (lambda project: (project.root / "key.pub").chmod(0o755), ["robot/key.pub"]),
    "many": (
        lambda project: project.write({f"{name}.txt": b"" for name in "abcdefg"}),
        [*(f"robot/{name}.txt" for name in "abcd"), "robot/e.txt and 2 more"],
    ),
    "untracked, where the user's settings hide it": (
        lambda project: (project.git("config", "status.showUntrackedFiles", "no"), project.write({"new.py": b""})),
        ["robot/new.py"],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_tree_that_is_not_clean_is_refused_under_head_alone(project: Project, what: str) -> None:
    change, names = CHANGES[what]
    change(project)
    assert reasons(project) == [f"the working tree is not clean: {', '.join(names)}"]
    assert reasons(project, "any") == []


def test_no_program_of_a_repositorys_settings_is_run(project: Project, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    project.git("config", "core.fsmonitor", str(trap))
    assert reasons(project) == []
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_was_loosened_before_the_run_and_not_committed_is_refused(project: Project) -> None:
    project.write({"devices/rig.toml": RIG.replace(b"9", b"99")})
    run_hash = hashlib.sha256(RIG.replace(b"9", b"99")).hexdigest()[:12]
    committed_hash = hashlib.sha256(RIG).hexdigest()[:12]
    assert reasons(project, "any") == [
        f"the device file devices/rig.toml is another one in commit {head(project)}: "
        f"the evidence has {run_hash}…, the commit {committed_hash}…"
    ]


def test_a_file_that_is_ignored_by_git_is_refused(project: Project) -> None:
    project.write({".gitignore": b"mine.toml\n", "devices/mine.toml": RIG})
    project.commit()
    entries = project.files(project.entry("device", "mine", "devices/mine.toml"))
    assert reasons(project, files=entries) == [f"the device file devices/mine.toml is not in commit {head(project)}"]


OUTSIDE = {
    "../../gate.toml": "lies outside of the repository",
    "../../../../etc/passwd": "lies outside of the repository",
    "/etc/passwd": "has a path that hilgate does not write",
    "devices/../devices/rig.toml": "has a path that hilgate does not write",
    "devices//rig.toml": "has a path that hilgate does not write",
    "./devices/rig.toml": "has a path that hilgate does not write",
    "..": "has a path that hilgate does not write",
    "": "has a path that hilgate does not write",
    "devices/rig.toml\0": "has a path that hilgate does not write",
    "devices/\ud800": "has a path that no file can have",
    "hilgate:../robot": "is none of hilgate's own",
    "hilgate:pi4": "is none of hilgate's own",
    "hilgate:rig": "does not come with this hilgate",
}


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leads_out_is_compared_and_never_opened(project: Project, path: str) -> None:
    project.policy()
    entries = project.files(project.entry("device", "rig", path, sha256="a" * 64))
    assert reasons(project, files=entries) == [f"the device file {path} {OUTSIDE[path]}"]


def test_a_device_file_of_another_hilgate_is_refused(project: Project) -> None:
    entries = project.files(project.entry("device", "pi4", "hilgate:pi4", sha256="a" * 64))
    reason = "the device file hilgate:pi4 is not this hilgate's: the evidence has aaaaaaaaaaaa…"
    assert reasons(project, files=entries) == [reason]


def test_a_network_that_comes_with_hilgate_is_its_own(project: Project) -> None:
    sha256 = hashlib.sha256((shipped.NETWORKS / "lte.toml").read_bytes()).hexdigest()
    assert reasons(project, files=project.files(project.entry("network", "lte", "hilgate:lte", sha256=sha256))) == []
    changed = project.files(project.entry("network", "lte", "hilgate:lte", sha256="a" * 64))
    assert "the network file hilgate:lte is not this hilgate's" in reasons(project, files=changed)[0]


@pytest.mark.parametrize(
    "name", ["a b.toml", 'quo"ted.toml', "new\nline.toml", "ümlaut.toml", "back\\slash.toml", "\udcff.toml"]
)
def test_names_that_git_would_quote_are_found(project: Project, name: str) -> None:
    project.write({f"devices/{name}": RIG})
    project.commit()
    assert reasons(project, files=project.files(project.entry("lock", "lock", f"devices/{name}"))) == []


def test_a_link_in_the_place_of_a_file_is_refused(project: Project) -> None:
    (project.root / "devices/rig.toml").rename(project.root / "real.toml")
    (project.root / "devices/rig.toml").symlink_to("../real.toml")
    (project.root / "way").symlink_to("devices")
    project.write({"devices/other.toml": RIG})
    project.commit()
    entry = project.entry("lock", "lock", "way/other.toml")
    assert reasons(project, files=project.files(entry)) == [
        f"the device file devices/rig.toml is a link in commit {head(project)}",
        f"the lock file way/other.toml is a link, or behind one, in commit {head(project)}",
    ]


def test_a_folder_in_the_place_of_a_file_is_refused(project: Project) -> None:
    entries = project.files(project.entry("lock", "lock", "devices", sha256="a" * 64))
    assert reasons(project, files=entries) == [f"the lock file devices is a folder in commit {head(project)}"]


def test_a_file_that_git_lfs_keeps_is_refused(project: Project) -> None:
    oid = hashlib.sha256(RIG).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(RIG)}\n"
    project.write({"devices/rig.toml": pointer.encode()})
    project.commit()
    project.write({"devices/rig.toml": RIG})
    reason = f"the device file devices/rig.toml is kept by Git LFS: commit {head(project)} has a pointer"
    assert reasons(project, "any") == [reason]


def test_a_file_that_is_checked_out_with_crlf_is_the_commits(project: Project) -> None:
    project.write({"../.gitattributes": b"*.toml text eol=crlf\n"})
    project.commit()
    (project.root / "devices/rig.toml").unlink()
    project.git("checkout", "--", ".")
    assert b"\r\n" in (project.root / "devices/rig.toml").read_bytes()
    run = project.run()
    files, refusals = committed_files(project.root, run, project.policy())
    assert refusals == []
    assert {file.content for file in files if file.name == "rig"} == {RIG.replace(b"\n", b"\r\n")}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_submodule_is_followed_at_the_commit_that_names_it(project: Project, tmp_path: Path, is_there: bool) -> None:
    other = Project(tmp_path / "other")
    project.git("submodule", "--quiet", "add", str(other.top), "robot/parts")
    project.commit()
    entry = project.entry("lock", "lock", "parts/robot/devices/rig.toml")
    inner = project.root / "parts"
    if is_there:
        assert reasons(project, files=project.files(entry)) == []
        (inner / "robot/devices/rig.toml").write_bytes(b"changed")
        assert reasons(project, files=project.files(entry)) == ["the working tree is not clean: robot/parts"]
        assert reasons(project, "any", files=project.files(entry)) == []
        project.git("checkout", "--", ".", folder=inner)
        project.git("-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x", folder=inner)
        assert reasons(project, "any", files=project.files(entry)) == []
        return
    project.git("submodule", "--quiet", "deinit", "-f", "robot/parts")
    assert reasons(project, files=project.files(entry)) == [
        "the lock file parts/robot/devices/rig.toml lies in the submodule robot/parts, which is not here"
    ]


def test_a_shallow_clone_without_the_commit_is_one_reason(project: Project, tmp_path: Path) -> None:
    first = project.git("rev-parse", "HEAD")
    run = project.run()
    project.write({"notes.md": b"later"})
    project.commit()
    project.git("clone", "-q", "--depth", "1", project.top.as_uri(), str(tmp_path / "clone"))
    _, refusals = committed_files(tmp_path / "clone/robot", run, project.policy("any"))
    assert [each.reason for each in refusals] == [
        f"the committed files cannot be had: commit {first[:12]} is not in this clone"
    ]
    assert "--unshallow" in refusals[0].remedy


def test_what_git_replaces_is_not_what_was_committed(project: Project) -> None:
    loose = RIG.replace(b"9", b"99")
    project.write({"loose.toml": loose})
    project.commit()
    old, new = (project.git("rev-parse", f"HEAD:robot/{name}") for name in ("devices/rig.toml", "loose.toml"))
    project.git("replace", old, new)
    entries = project.files(project.entry("device", "rig", "devices/rig.toml"))
    assert reasons(project, files=entries) == []
    project.write({"devices/rig.toml": loose})
    assert "is another one in commit" in reasons(project, "any")[0]


def test_an_object_that_is_not_what_its_name_says_is_refused(project: Project) -> None:
    loose = RIG.replace(b"9", b"99")
    oid = project.git("rev-parse", "HEAD:robot/devices/rig.toml")
    place = project.top / ".git/objects" / oid[:2] / oid[2:]
    place.chmod(0o644)
    place.write_bytes(zlib.compress(b"blob %d\0" % len(loose) + loose))
    entry = project.entry("device", "rig", "devices/rig.toml", sha256=hashlib.sha256(loose).hexdigest())
    files = [each for each in project.files() if each["name"] != "rig"]
    assert reasons(project, "any", files=[*files, entry]) == [
        f"the device file devices/rig.toml cannot be had: blob {oid[:12]} is damaged in this clone"
    ]


def test_variables_that_lead_git_elsewhere_do_not_count(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, policy = project.run(), project.policy()
    other = Project(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.top / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.top))
    assert committed_files(project.root, run, policy)[1] == []


def test_a_project_outside_of_git_is_told_what_to_do(project: Project, tmp_path: Path) -> None:
    run, policy = project.run(), project.policy()
    (tmp_path / "repository/.git").rename(tmp_path / "gone")
    _, refusals = committed_files(project.root, run, policy)
    assert [each.reason for each in refusals] == [
        "the committed files cannot be had: the project is in no git repository"
    ]
    assert "git init" in refusals[0].remedy


def test_without_git_that_is_said(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, policy = project.run(), project.policy()
    monkeypatch.setenv("PATH", str(tmp_path))
    _, refusals = committed_files(project.root, run, policy)
    assert [each.reason for each in refusals] == ["the committed files cannot be had: there is no git on this machine"]


def test_a_repository_without_a_commit_is_told(tmp_path: Path, project: Project) -> None:
    run, policy = project.run(), project.policy()
    assert run.commit is not None
    (project.top / ".git").rename(tmp_path / "gone")
    project.git("init", "-q")
    found = [each.reason for each in committed_files(project.root, run, policy)[1]]
    assert found == [
        "the repository has no commit yet",
        f"the committed files cannot be had: commit {run.commit[:12]} is not in this clone",
    ]
