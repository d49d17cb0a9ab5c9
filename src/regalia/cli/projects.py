"""`regalia projects`: projects and their settings."""

from typing import Annotated, Any

import typer

from regalia.cli.administering import Administration, administers

app = typer.Typer(help="Projects: who sees what, which models, how secret.", no_args_is_help=True)
_COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "organisation": "ORGANISATION",
    "ceiling": "CEILING",
    "jurisdiction": "JURISDICTION",
    "models": "MODELS",
    "archived": "ARCHIVED",
}
Ceiling = Annotated[
    str | None, typer.Option(help="The most secret classification it may use: public, official, …")
]
Jurisdiction = Annotated[str | None, typer.Option(help="Its home jurisdiction, ISO 3166: KE, CH-ZH.")]
Model = Annotated[list[str] | None, typer.Option("--model", help="A model it may use; may be repeated.")]
Retention = Annotated[str | None, typer.Option(help="The retention class of its contents.")]
Project = Annotated[str, typer.Argument(help="The project's id.")]


@app.command()
@administers
def create(
    reach: Administration,
    name: Annotated[str, typer.Argument(help="Its name.")],
    organisation: Annotated[str, typer.Option(help="The organisation's id.")] = "default",
    ceiling: Ceiling = None,
    jurisdiction: Jurisdiction = None,
    model: Model = None,
    retention: Retention = None,
) -> None:
    """Create a project.

    Example: `regalia projects create triage --organisation org_01… --ceiling official --jurisdiction KE`
    """
    wanted = {
        "name": name,
        "organisation": organisation,
        **_settings(ceiling, jurisdiction, model, retention),
    }
    made = reach.ask("POST", "/projects", wanted)
    reach.show(made, f"Created {made['id']}.")


@app.command("list")
@administers
def list_(
    reach: Administration, organisation: Annotated[str, typer.Option(help="Only of this organisation.")] = ""
) -> None:
    """List the projects you have a role in.

    Example: `regalia projects list --organisation org_01…`
    """
    reach.table(reach.listed("/projects", organisation=organisation), _COLUMNS)


@app.command()
@administers
def show(reach: Administration, project: Project) -> None:
    """Show one project.

    Example: `regalia projects show proj_01…`
    """
    reach.table([reach.ask("GET", f"/projects/{project}")], _COLUMNS)


@app.command("set")
@administers
def set_(
    reach: Administration,
    project: Project,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    ceiling: Ceiling = None,
    jurisdiction: Jurisdiction = None,
    model: Model = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="It may use every model.")] = False,
    retention: Retention = None,
) -> None:
    """Change a project's settings; what you leave out stays.

    Example: `regalia projects set proj_01… --ceiling restricted`
    """
    wanted = {"name": name, **_settings(ceiling, jurisdiction, model, retention)}
    if all_models:
        wanted["models"] = []
    reach.show(reach.ask("PATCH", f"/projects/{project}", wanted), f"Changed {project}.")


@app.command()
@administers
def archive(reach: Administration, project: Project) -> None:
    """End a project: its keys are refused within a second. Receipts of its calls stay valid.

    Example: `regalia projects archive proj_01…`
    """
    reach.show(reach.ask("POST", f"/projects/{project}/archive"), f"Archived {project}.")


def _settings(
    ceiling: str | None, jurisdiction: str | None, models: list[str] | None, retention: str | None
) -> dict[str, Any]:
    return {
        "ceiling": ceiling,
        "jurisdiction": jurisdiction,
        "models": models or None,
        "retention": retention,
    }
