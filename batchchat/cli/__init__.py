"""The command line: options in, one call of the api, a rendered result and an exit status out.

This room alone prints and exits. stdout carries what was asked for, stderr everything else. Nothing heavy is imported
before a command runs, so that `--help` is quick.

    app.py        the commands, and the way from argv to an exit status
    option.py     an option as data; commands take theirs from tables of them
    options.py    the tables: what `run`, `estimate` and `show` share, and the rest
    page.py       the text of `--help`
    shell.py      a shell asks what a word may become
    complete.py   what it may
    failure.py    an exception in words, and its exit status
    stream.py     stdout and stderr
    tally.py      what is counted while a job runs
    progress.py   how it is shown
    answer.py     one answer beside its prompt
    ending.py     what is said when it ended
    ends.py       what is done then: tolerance.py (which failures are no failure), a notice
    window.py     the title of the terminal's window, and the bell
    typed.py      what was typed, with a word changed: the next command
    mend.py       the command that would have been right
    grid.py       rows beside their answers
    header.py     what is told before the first request, and the question
    place.py      a path as a person would type it here
    changes.py    old and new settings side by side
    approval.py   the question before a key goes to a host that only a job file names
    run.py, resume.py, estimate.py, show.py, status.py, rows.py, compare.py, export.py, report.py, serve.py, demo.py
                  one file a command
"""
