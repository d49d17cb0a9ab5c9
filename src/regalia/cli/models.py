"""Models (being written)."""
import typer
app = typer.Typer()
