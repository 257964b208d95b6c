"""The forms of annotators, one a module: what `read` reads, and the `contents` of the files to write.

`files` says which files are written for some photos, each its path and name, and raises `UserError`
where the form cannot hold them; `SUFFIX` is what `--out` ends in, "" where it is a folder.
"""
