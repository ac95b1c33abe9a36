"""The command: ``python bench/run.py --reps 3 --secs 5 --peers nginx,penstock,litellm``.

Repetitions are interleaved over peers and cases, and a peer that is not being measured is stopped. Every cell is one
JSON line in ``--out``; a run that was cut short goes on where it ended (``--resume``). Loopback only, bounded in time.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from bench.load.cases import CASES, REFERENCE
from bench.load.heading import heading
from bench.load.peers import PEERS
from bench.load.processes import ROOT
from bench.load.profile import profile
from bench.load.report import OURS, Results, markdown, verdicts
from bench.load.session import Plan, load_cells, measure_all, running

RESULTS = ROOT / "bench" / "RESULTS.md"


def names(text: str, known: Sequence[str], option: str) -> list[str]:
    """The names in a comma-separated option. Raises UsageError for one that is not known."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := set(found) - set(known):
        raise click.UsageError(f"{option}: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return found


@click.command()
@click.option("--peers", "peer_list", default="nginx,penstock,budgets", help=f"Which gateways, of {','.join(PEERS)}.")
@click.option("--cases", "case_list", default=",".join(CASES), help=f"Which cases, of {','.join(CASES)}.")
@click.option("--reps", default=3, help="Repetitions, interleaved.")
@click.option("--secs", default=5.0, help="Seconds of load per cell.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "build" / "bench.jsonl", help="The cells.")
@click.option("--resume", is_flag=True, help="Keep the cells that --out holds, and measure only the others.")
@click.option("--results", type=click.Path(path_type=Path), help="The tables; a run of all cases: bench/RESULTS.md.")
@click.option("--check", is_flag=True, help="Exit 1 when a figure is over its limit or missing.")
@click.option("--profile", "profiled", is_flag=True, help="Sample Penstock with py-spy instead of measuring.")
def main(
    *,
    peer_list: str,
    case_list: str,
    reps: int,
    secs: float,
    out: Path,
    resume: bool,
    results: Path | None,
    check: bool,
    profiled: bool,
) -> None:
    """Measure gateways side by side: CPU per request as a ratio to nginx in the same run."""
    chosen = [PEERS[name] for name in names(peer_list, list(PEERS), "--peers")]
    plan = Plan(chosen, names(case_list, list(CASES), "--cases"), reps, secs)
    for tool in ("wrk", "taskset", *(["nginx"] if REFERENCE in peer_list else [])):
        if not shutil.which(tool):
            raise click.ClickException(f"{tool} is not installed; bench/load/README.md says what is needed")
    if profiled:
        print_profiles(plan)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory:
        measure_all(plan, out, Path(directory))
    found = Results(load_cells(out))
    click.echo(markdown(found))
    target = results or (RESULTS if set(plan.cases) == set(CASES) else None)
    if target:
        target.write_text(heading(plan) + markdown(found))
    if check and not all(verdict.kept for verdict in verdicts(found)):
        sys.exit(1)


def print_profiles(plan: Plan) -> None:
    """A profile of Penstock per case."""
    ours = PEERS[OURS]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, running([ours], Path(name)) as run:
        process = run.gateways[OURS]
        process.resume()
        for case in plan.cases:
            click.echo(f"{case}\n{profile(ours, CASES[case], plan.secs, process, Path(name))}\n")


if __name__ == "__main__":
    main()
