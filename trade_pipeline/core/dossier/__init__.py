"""The dossier of one trade: everything that is stored about it, told so that a person follows it.

`gather` reads the facts by the trade's UUID, `page` tells them in sections, which are the same in
the terminal, as HTML and in the UI.
"""
