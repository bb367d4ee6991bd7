from . import command_options as command_options
from .doctor import examine as examine
from .lines import finding_lines as finding_lines, status_lines as status_lines
from .option_groups import flatten_groups as flatten_groups, only as only
from .terminal import end as end, open_missing_streams as open_missing_streams, open_terminal as open_terminal, tell as tell
from .usage import Command as Command, Group as Group, Program as Program
