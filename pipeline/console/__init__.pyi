from . import command_options as command_options
from .command_help import Command as Command, Group as Group, Program as Program
from .doctor import examine as examine
from .result_lines import finding_lines as finding_lines, status_lines as status_lines
from .terminal import end as end, open_missing_streams as open_missing_streams, open_terminal as open_terminal, tell as tell
from .typer_options import flatten_groups as flatten_groups, only as only
