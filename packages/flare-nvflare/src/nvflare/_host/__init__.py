"""Hosts for components that were written for NVIDIA FLARE.

At each party of a job, :class:`~nvflare._host.engine.Engine` holds the components, fires their events and carries their
messages. A controller runs as a workflow of Flare (:mod:`nvflare._host.server`), an executor as one of Flare's
(:mod:`nvflare._host.site`); tasks and results travel as those of Flare do (:mod:`nvflare._host.wire`).
"""
