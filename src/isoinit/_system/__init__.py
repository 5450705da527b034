"""What the operating system and a distributed run give: files, signals and processes.

`alone` lets one thread work on models at a time, out of torch's modes that `modes` knows; `signals`
has Ctrl-C wait for a good moment; `files` writes files that are whole or not there, and opens files of
others and nothing else; `locks` keeps other processes from a folder; `json_text` reads JSON that means
one thing; `formats` says by a header what a JSON file holds; `schema` reads plain data by type
annotations; `headers` reads what a safetensors file holds; `memory` asks for large pages; `packages`
says what is not installed; `private` hands out what torch does not promise to keep, and `probes` try
it; `processes` lets the ranks of a distributed run agree and fail as one.
Every room above may import these modules, by their names. They know nothing of models, plans or
values.
"""
