"""Interleave: every order in which the calls of a few actors can reach the server, with the laws looked at after every call.

`facts` reads all there is of a queue in one look, `state_laws` say what must hold of any look, `change_laws` what one call may
have changed between two, `world` is the actors and their calls, `explore` goes through the orders.
"""
