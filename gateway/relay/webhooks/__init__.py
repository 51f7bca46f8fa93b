"""Webhooks: whoever asked to be told of a call's end is told, signed, at least once.

`sending` decides who is told when, `schedule` how often; `message` makes and signs what is sent,
`post` sends it, to an address that `addresses` allows.
"""
