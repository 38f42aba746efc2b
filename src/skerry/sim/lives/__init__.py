"""Lives: one cloud per seed that draws its own size, network, services, faults, operators and hostile nodes.

`plan` draws what will happen, as data; `life` lives it; `watching` looks after every step, `ending` once it has been quiet; `shrink`
leaves out acts as long as the life stays broken; `many` runs seeds side by side. Machines are those of sim/whole.py.
"""
