"""Procedural garments in DeepFashion2's own layout: the embedded data set.

A photo holds an outfit on a figure (or laid flat), layered as people wear it, and every garment
in it is annotated as its own item with landmarks, their visibility, box and outline.

    figure, geometry    a body, its pose, and the curves that both are drawn with
    styles              the cut of each category, drawn at random
    shapes, trims       what a garment is made of; hems, cuffs, buttons, prints
    lowers, uppers      outline, landmarks and details of the 13 categories
    cloth, people       fabrics and painting; skin, hair, hands, shoes, bags
    outfit, backdrop    what goes with what; rooms, streets, surfaces
    scene               one photo with its annotation
    writer              a whole set on disk
    sheet               pictures for a look by eye
"""

from fewshot_landmarks.data.garments.scene import DIFFICULTIES
from fewshot_landmarks.data.garments.writer import VERSION, write_garments

__all__ = ["DIFFICULTIES", "VERSION", "write_garments"]
