"""The command ``nvflare``: the commands of NVIDIA FLARE, carried out by Flare's own.

Exit codes are those of ``flare``: 0 success, 1 failure, 2 wrong command line, 3 job failed, 4 job aborted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_GONE = {
    "dashboard": "the server has one: see 'flare up'",
    "preflight_check": "'flare status' shows what is missing",
    "preflight-check": "'flare status' shows what is missing",
    "authz_preview": "roles and their rights are in docs/deployment",
    "config": "set FLARE_KIT to the administrator's kit",
    "cert": "'flare invite' and 'flare join' make certificates",
    "package": "'flare invite' and 'flare join' make kits",
    "deploy": "start a kit with 'flare server', 'flare client' or 'flare relay'",
    "study": "give --study to 'flare invite' and 'flare job submit'",
    "system": "see 'flare status', 'flare down' and 'flare stop'",
}

_WORKSPACE = "/tmp/nvflare/simulator"


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit code."""
    from flare_core.errors import FlareError, JobAborted, JobFailed

    if arguments and arguments[0] in _GONE:
        _complain(f"nvflare {arguments[0]} is not provided by Flare: {_GONE[arguments[0]]}")
        return 2
    try:
        given, rest = _parser().parse_known_args(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    if given.version:
        import nvflare

        _say(f"nvflare {nvflare.__version__}")
        return 0
    if given.verb is None:
        _parser().print_help()
        return 2
    if rest and not given.passes_on:
        _complain(f"nvflare {given.verb}: unknown argument {rest[0]!r}")
        return 2
    given.rest = rest
    try:
        return int(given.do(given) or 0)
    except (JobFailed, JobAborted) as error:
        _complain(f"error: {error}")
        return 3 if isinstance(error, JobFailed) else 4
    except (FlareError, OSError) as error:
        _complain(f"error: {error}")
        return 1


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: object) -> None:
    sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("nvflare", description="The commands of NVIDIA FLARE, carried out by Flare's own.")
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    parser.set_defaults(passes_on=False)
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    _add_simulator(verbs)
    _add_poc(verbs)
    _add_provision(verbs)
    _add_job(verbs)
    recipe = verbs.add_parser("recipe", help="list recipes, or show one", add_help=False)
    recipe.set_defaults(do=_recipe, passes_on=True)
    return parser


def _add_simulator(verbs: Any) -> None:
    text = "Simulate a job folder: the server and all sites run on this machine."
    simulator = verbs.add_parser("simulator", help="simulate a job folder on this machine", description=text)
    simulator.add_argument("job_folder", help="the job folder, in the format of NVIDIA FLARE")
    simulator.add_argument("-w", "--workspace", default=_WORKSPACE, help="where results go (default: %(default)s)")
    simulator.add_argument("-n", "--n_clients", "--n-clients", type=int, help="the number of sites: site-1, site-2, …")
    simulator.add_argument("-c", "--clients", help="the names of the sites, separated by commas")
    simulator.add_argument("-t", "--threads", type=int, help="how many run at a time (default: the number of cores)")
    simulator.add_argument("-gpu", "--gpu", help="the GPU of each group of sites, such as 0,1 or [0,1],[2]")
    simulator.add_argument(
        "-l", "--log_config", "--log-config", help="a log level, or the file of a logging configuration"
    )
    simulator.add_argument("-m", "--max_clients", type=int, help=argparse.SUPPRESS)
    simulator.add_argument("--end_run_for_all", action="store_true", help=argparse.SUPPRESS)
    simulator.set_defaults(do=_simulator)


def _add_poc(verbs: Any) -> None:
    poc = verbs.add_parser("poc", help="run a server and sites as processes on this machine")
    steps = poc.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare = steps.add_parser("prepare", help="create the kits of the server and the sites")
    prepare.add_argument("-n", "--number_of_clients", "--number-of-clients", type=int, default=2)
    prepare.add_argument("-c", "--clients", nargs="*", help="the names of the sites")
    prepare.add_argument("--force", action="store_true", help="replace the federation that is there")
    for name, text in (("start", "start the processes"), ("stop", "stop the processes"), ("clean", "delete the kits")):
        step = steps.add_parser(name, help=text)
        if name != "clean":
            step.add_argument("-p", "--service", default="all", help="only 'all' is provided")
            step.add_argument("-ex", "--exclude", help=argparse.SUPPRESS)
    poc.set_defaults(do=_poc)


def _add_provision(verbs: Any) -> None:
    provision = verbs.add_parser("provision", help="create the kits of all participants in a project.yml")
    provision.add_argument("-p", "--project_file", "--project-file", default="project.yml")
    provision.add_argument("-w", "--workspace", default="workspace", help="the folder of projects")
    provision.add_argument("-g", "--generate", action="store_true", help="write a project.yml to begin with")
    provision.set_defaults(do=_provision)


def _add_job(verbs: Any) -> None:
    job = verbs.add_parser("job", help="submit and manage jobs")
    steps = job.add_subparsers(dest="step", required=True, metavar="STEP")
    submit = steps.add_parser("submit", help="submit a job folder")
    submit.add_argument("-j", "--job_folder", "--job-folder", required=True)
    listed = steps.add_parser("list", help="list the jobs")
    listed.add_argument("-n", "--name", help="only jobs whose name begins with this")
    listed.add_argument("-i", "--id", help="only jobs whose id begins with this")
    listed.add_argument("-r", "--reverse", action="store_true", help="oldest first")
    listed.add_argument("-m", "--max", type=int, help="at most this many")
    for name, text in (
        ("meta", "show a job"),
        ("abort", "abort a job"),
        ("clone", "submit a job again"),
        ("delete", "delete a job"),
        ("download", "download the result of a job"),
        ("logs", "print the log of the server or a site"),
        ("monitor", "wait for the end of a job"),
        ("wait", "wait for the end of a job"),
    ):
        step = steps.add_parser(name, help=text)
        step.add_argument("job_id")
        if name == "download":
            step.add_argument("-o", "--output", default=".", help="the folder for it")
        if name == "logs":
            step.add_argument("--site", default="server")
            step.add_argument("--tail", type=int)
        if name in ("monitor", "wait"):
            step.add_argument("--timeout", type=float, default=0.0)
    for step in steps.choices.values():
        step.add_argument("--kit", help="the administrator's kit; by default $FLARE_KIT or that of the POC")
        step.add_argument("--study", default="default")
    job.set_defaults(do=_job)


def _simulator(given: argparse.Namespace) -> None:
    from nvflare._host.simulator import simulate

    simulate(
        given.job_folder,
        given.workspace,
        n_clients=given.n_clients,
        clients=[each.strip() for each in given.clients.split(",")] if given.clients else None,
        threads=given.threads,
        gpu=given.gpu,
        log_config=given.log_config,
    )


def _poc(given: argparse.Namespace) -> int:
    import os
    import shutil

    from flare_core import FlareError
    from nvflare._flare.names import check_import

    check_import("flare-deploy", "flare_deploy", "nvflare poc")
    from flare_deploy.poc import Poc, default_poc

    poc = Poc(Path(os.environ.get("NVFLARE_POC_WORKSPACE") or default_poc()).absolute())
    is_there = poc.project_folder.exists()
    if given.step == "prepare":
        if is_there and any(poc.status().values()):
            raise FlareError(f"the POC in {poc.folder} is running; stop it first with 'nvflare poc stop'")
        if is_there:
            shutil.rmtree(poc.folder)
        poc.prepare(given.clients or [f"site-{number + 1}" for number in range(given.number_of_clients)])
        _say(f"{poc.folder}: {', '.join(poc.sites)}; next: nvflare poc start")
    elif given.step == "start":
        if not is_there:
            raise FlareError("there is no POC; make one with 'nvflare poc prepare -n 2'")
        poc.start(owned=False)
        _say(f"started; next: export FLARE_KIT={poc.admin}")
    elif given.step == "stop":
        if is_there:
            poc.stop()
        _say("stopped")
    elif is_there:
        if any(poc.status().values()):
            raise FlareError(f"the POC in {poc.folder} is running; stop it first with 'nvflare poc stop'")
        shutil.rmtree(poc.folder)
        _say(f"{poc.folder} deleted")
    return 0


_SAMPLE = """\
api_version: 3
name: example_project
participants:
  - {name: localhost, type: server, org: example, fed_learn_port: 8002}
  - {name: site-1, type: client, org: example}
  - {name: site-2, type: client, org: example}
  - {name: admin@example.org, type: admin, org: example, role: project_admin}
"""


def _provision(given: argparse.Namespace) -> int:
    from flare_core import FlareError
    from nvflare._flare.names import check_import

    path = Path(given.project_file)
    if given.generate:
        if path.exists():
            raise FlareError(f"{path} exists; choose another file with -p")
        path.write_text(_SAMPLE, encoding="utf-8")
        _say(f"{path} written; next: nvflare provision -p {path}")
        return 0
    check_import("flare-deploy", "flare_deploy", "nvflare provision")
    from flare_deploy.provision.project_file import provision

    for name, kind, folder in provision(path, Path(given.workspace)):
        _say(f"{kind}  {name}  {folder}")
    return 0


def _job(given: argparse.Namespace) -> int:
    import json

    from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

    with new_secure_session("", str(_kit(given.kit)), study=given.study) as session:
        assert isinstance(session, Session)
        match given.step:
            case "submit":
                _say(session.submit_job(given.job_folder))
            case "list":
                for each in session.list_jobs(False, given.max, given.id, given.name, given.reverse):
                    _say(f"{each['job_id']}  {each['job_name']}  {each['status']}")
            case "meta":
                _say(json.dumps(session.get_job_meta(given.job_id), indent=2, default=str))
            case "abort":
                session.abort_job(given.job_id)
            case "clone":
                _say(session.clone_job(given.job_id))
            case "delete":
                session.delete_job(given.job_id)
            case "download":
                _say(session.download_job_result(given.job_id, given.output))
            case "logs":
                _say(session.get_job_logs(given.job_id, given.site, given.tail))
            case _:
                return _ended(session.wait_for_job(given.job_id, given.timeout))
    return 0


def _ended(meta: dict[str, Any]) -> int:
    """Print how a job has ended, and return the exit code for it."""
    _say(f"{meta['job_id']}  {meta['status']}")
    return {"finished": 0, "failed": 3, "aborted": 4}.get(str(meta["state"]), 1)


def _kit(given: str | None) -> Path:
    from flare_core import FlareError
    from nvflare._flare.names import check_import

    check_import("flare-deploy", "flare_deploy", "nvflare job")
    from flare_deploy.cli.places import find_kit
    from flare_deploy.poc import Poc, default_poc

    found = find_kit(Path(given) if given else None)
    if found is None and (default_poc() / "project" / "admin" / "startup").is_dir():
        found = Poc(default_poc()).admin
    if found is None:
        raise FlareError("no administrator's kit was found; give --kit, or set FLARE_KIT")
    return found


def _recipe(given: argparse.Namespace) -> int:
    """Let ``flare recipe`` do it."""
    from nvflare._flare.names import check_import

    check_import("flare-deploy", "flare_deploy", "nvflare recipe")
    from flare_deploy.cli.app import run as run_flare

    sys.argv = ["flare", "recipe", *given.rest]
    return run_flare()


if __name__ == "__main__":
    main()
