"""Links, which carry frames between two cells.

Each address scheme has a module, imported when it is first used. Packages add schemes in the entry-point group
``flare.links``; the module has the functions of :class:`flare_transport.links.base.Scheme`.
"""
