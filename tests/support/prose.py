"""English prose that no model was trained on, for judging trained models."""

PROSE = """\
The old lighthouse had stood on the cliff for more than two hundred years before anyone thought of repairing it. In
the winter of that year a storm came in from the north and tore half of the roof away. The keeper, a quiet man who had
spent most of his life at sea, climbed the stairs every evening with a bucket of oil and a box of matches, because the
electric lamp no longer worked. From the village below, people could see the small yellow light moving up behind the
windows, one floor after another, until at last the great glass at the top began to shine.

When spring arrived, the council sent two engineers to look at the damage. They measured the walls, took photographs
of the cracks and drank a great deal of tea in the kitchen. Their report said that the tower was safe, but that the
roof would have to be replaced and that the work would cost more money than the village had. So the children of the
school wrote letters to every newspaper in the country and asked for help. Within three weeks the first answers came.
Some of them held only a few coins, others held cheques for large sums, and one of them held a key. It belonged, the
letter said, to a door in the lighthouse that nobody had opened for a very long time.
"""
