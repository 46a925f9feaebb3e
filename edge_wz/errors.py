"""Everything edge_wz raises on purpose.

    EdgeWzError
    |-- InputError           what a user gave: a recording, an option, a combination        exit 2
    |   |-- RecordingError   a CSV that cannot be used: names file, line, column            exit 3
    |   `-- ConfigError      a fleet file: names the key path                               exit 4
    |-- FormatError          bytes that are not what they claim: blob, bundle, capture      exit 5
    |   `-- NewerVersion     a later version of a format                                    exit 5
    |-- LinkError            a port that is locked, gone or silent                          exit 6
    |-- StorageError         a disk that is full or refuses                                 exit 7
    |-- DesignError          a model that cannot be designed from this recording            exit 8
    `-- DeployError          a model that a node cannot take, or that did not prove itself  exit 9

Corrupt bytes on a link are not errors: they are frames and packets with a status, counted (see `formats.packet`).
Every message is one line that says what and where. The command line turns each class into its exit code.
"""


class EdgeWzError(Exception):
    exit_code = 1


class InputError(EdgeWzError):
    exit_code = 2


class RecordingError(InputError):
    exit_code = 3


class ConfigError(InputError):
    exit_code = 4


class FormatError(EdgeWzError):
    exit_code = 5


class NewerVersion(FormatError):
    pass


class LinkError(EdgeWzError):
    exit_code = 6


class StorageError(EdgeWzError):
    exit_code = 7


class DesignError(EdgeWzError):
    exit_code = 8


class DeployError(EdgeWzError):
    exit_code = 9
