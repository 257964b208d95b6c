"""Garments that hang from the shoulders: tops, vests, slings, outwear and dresses."""

from dataclasses import replace

import numpy as np

from fewshot_landmarks.data.garments.clothes import trims
from fewshot_landmarks.data.garments.clothes.geometry import (
    along,
    ellipse,
    mix,
    spline,
    steps,
    strip,
)
from fewshot_landmarks.data.garments.clothes.lowers import skirt_sides, waist_width
from fewshot_landmarks.data.garments.clothes.shapes import DrawnGarment, Part, Stroke, grain
from fewshot_landmarks.data.garments.clothes.styles import (
    DRESSES,
    LONG_SLEEVED,
    NECKS,
    OUTWEAR,
    SLINGS,
    VESTS,
    UpperStyle,
)
from fewshot_landmarks.data.garments.figure import ARMPIT, CROTCH, HIP, SIDES, WAIST, Figure


def build_upper(category: int, style: UpperStyle, figure: Figure) -> DrawnGarment:
    """A top, vest, sling, outwear or dress (ids 1 to 6, 10 to 13) worn by `figure`."""
    return _Upper(category, style, figure).build()


class _Upper:
    """One garment under construction: the lines that its parts and landmarks share."""

    def __init__(self, category: int, style: UpperStyle, figure: Figure):
        self.category, self.figure = category, figure
        self.dress = category in DRESSES
        self.sling = category in SLINGS
        self.sleeved = category not in VESTS + SLINGS
        self.style = style if self.dress or self.sleeved else replace(style, waist="none")
        body = figure.body
        self.armpit = ARMPIT + 0.35 * style.ease + (0.08 if self.sleeved else 0.0)
        self.chest = body.chest + style.ease
        nw, ny, depth, *_ = NECKS[style.neck]
        self.neck = (nw * style.neck_width, ny, depth * style.neck_depth)
        self.sides = {s: self._side(s) for s in SIDES}
        self.hem = self._hem()

    def build(self) -> DrawnGarment:
        if self.category in OUTWEAR:
            return self._outwear()
        neckline, back = (self._sling_top if self.sling else self._neckline)()
        edges = {s: self._upper_edge(s, neckline) for s in SIDES}
        front = neckline[::-1]
        polygon = np.vstack(
            [front, edges[-1], self.sides[-1], self.hem, self.sides[1][::-1], edges[1][::-1]]
        )
        parts = {"back": Part("back", [np.vstack([back, front])])}
        if self.sling:
            parts["back"].polygons += [self._strap(s, -1.0) for s in SIDES]
        parts["back"].strokes.append(Stroke([back], "trim", 0.08))
        parts["torso"] = torso = Part("torso", [polygon])
        if self.sling:
            torso.polygons += [self._strap(s, 1.0) for s in SIDES]
        self._front_details(torso, neckline)
        chains = {s: self._chain(s, edges[s], parts) for s in SIDES}
        middle = len(back) // 2
        quarter = len(neckline) // 4
        marks = [back[middle], *neckline[::quarter]]
        homes = [["back"], *[["torso"]] * 5]
        for side in SIDES:
            points, where = chains[side]
            marks += points if side < 0 else points[::-1]
            homes += where if side < 0 else where[::-1]
            if side < 0:
                marks.append(self.hem[len(self.hem) // 2])
                homes.append(["torso"])
        return DrawnGarment(self.category, parts, np.array(marks), homes)

    # Lines

    def _shoulder(self, side: int) -> np.ndarray:
        """The shoulder's outer edge on the template."""
        style = self.style
        if self.sling:
            x, y = style.strap, 0.0
        elif not self.sleeved:
            x = max(style.strap, self.neck[0] + 0.1)
            y = 0.0
        else:
            x, y = self.figure.body.shoulder + 0.35 * style.ease, 0.06
        return np.array([side * x, y - 0.14 + 0.18 * x])

    def _side(self, side: int) -> np.ndarray:
        """The side from under the arm to the hem, posed (13, 2)."""
        style, body, end = self.style, self.figure.body, self.style.length
        waist, hip = body.waist + style.ease * 1.1, body.hip + style.ease * 0.8
        loose = np.clip(style.ease / 0.3, 0, 1)
        waist = waist + (max(self.chest, hip) - waist) * loose
        if self.dress:
            low, wide = skirt_sides(self.figure, WAIST, waist, end, style.flare, style.ease * 0.8)
            high = steps(self.armpit, WAIST, 5)[:-1]
            y = np.concatenate([high, low])
            x = np.concatenate([np.interp(high, [self.armpit, WAIST], [self.chest, waist]), wide])
        else:
            y = steps(self.armpit, end, 13)
            x = np.interp(y, [self.armpit, WAIST, HIP, 6], [self.chest, waist, hip, hip])
            x = x + style.flare * np.clip(y - WAIST, 0, None)
            x = np.where(y > CROTCH, np.maximum(x, self.figure.reach(y) * 0.9), x)
            if style.tuck:
                held = waist_width(body, style.tuck) - 0.01
                x = np.minimum(x, np.interp(y, [style.tuck - 0.5, style.tuck - 0.04], [2.0, held]))
        dense = self.figure.torso(np.stack([side * x, y], -1))
        return spline(along(dense, steps(0, 1, 7)))

    def _hem(self) -> np.ndarray:
        """The hem from left to right; its middle point is the landmark."""
        left, right = self.sides[-1][-1], self.sides[1][-1]
        drop = np.array([0, self.style.droop])
        centre = self.figure.torso([[0, self.style.length]])[0]
        centre[1] = (left[1] + right[1]) / 2
        lifted = self.style.droop > 0.15  # a shirt's tail: sides high, flat below
        bulge = 0.95 if lifted else 0.7
        return spline(
            [left, mix(left, centre, 0.5) + drop * bulge, centre + drop,
             mix(right, centre, 0.5) + drop * bulge, right]
        )  # fmt: skip

    def _neckline(self) -> tuple[np.ndarray, np.ndarray]:
        """The front and the back neckline from left to right, posed."""
        nw, ny, depth = self.neck
        corner, low = np.array([nw, ny]), np.array([0, ny + depth])
        flip = np.array([-1, 1])
        straight = self.style.neck in ("v", "square", "collar")
        if self.style.neck == "square":
            side = np.array([nw * 0.88, ny + depth * 0.96])
        elif straight:
            side = mix(corner, low, 0.5)
        else:
            side = np.array([nw * 0.66, ny + depth * 0.72])
        controls = np.array([corner * flip, side * flip, low, side, corner])
        if straight:
            t = steps(0, 4, 25)
            line = np.stack([np.interp(t, range(5), controls[:, k]) for k in (0, 1)], -1)
        else:
            line = spline(controls)
        dip = 0.0 if self.style.neck == "turtle" else 0.07
        back = spline([corner * flip, [0, ny + dip], corner])
        return self.figure.torso(line), self.figure.torso(back, front=-1.0)

    def _sling_top(self) -> tuple[np.ndarray, np.ndarray]:
        """The top edge between a sling's straps, in front and on the back, posed."""
        x, y = self.style.strap * 0.95, 0.48
        low = y + 0.05 + 0.22 * self.style.neck_depth
        heart = self.style.neck in ("v", "collar")
        inner = [x * 0.5, y + (0.5 if heart else 0.7) * (low - y)]
        line = spline([[-x, y], [-inner[0], inner[1]], [0, low], inner, [x, y]])
        back = spline([[-x, y + 0.12], [0, y + 0.16], [x, y + 0.12]])
        return self.figure.torso(line), self.figure.torso(back, front=-1.0)

    def _upper_edge(self, side: int, neckline: np.ndarray) -> np.ndarray:
        """From the neck corner over the shoulder to under the arm, posed."""
        shoulder = self._shoulder(side)
        under = np.array([side * self.chest, self.armpit])
        corner = neckline[0] if side < 0 else neckline[-1]
        if self.sling:
            top = np.array([side * self.style.strap * 0.95, 0.48])
            bow = spline([top, mix(top, under, 0.5) + [0, 0.03], under])
            return np.vstack([corner, self.figure.torso(bow)])
        deep = 0.0 if self.sleeved else 0.2
        hole = spline([shoulder, mix(shoulder, under, 0.55) + [-side * deep, 0], under])
        edge = self.figure.torso(hole)
        if self.style.neck == "turtle" and self.category not in OUTWEAR:
            base = self.figure.torso([[side * (self.neck[0] + 0.05), -0.1]])
            edge = np.vstack([base, edge])
        return np.vstack([corner, edge])

    def _strap(self, side: int, front: float) -> np.ndarray:
        style = self.style
        low = np.array([side * style.strap * 0.95, 0.5 if front > 0 else 0.62])
        pair = self.figure.torso([low, self._shoulder(side)], front=front * 0.6)
        if front > 0:
            pair[0] = self.figure.torso([low - [0, 0.02]])[0]
        half = np.array([style.strap_width, 0])
        return np.vstack([pair[0] - half, pair[1] - half, pair[1] + half, pair[0] + half])

    # Parts and their landmarks

    def _chain(self, side: int, edge: np.ndarray, parts: dict) -> tuple[list, list]:
        """Landmarks from the shoulder down to the hem's corner, and the parts they lie on."""
        own = f"panel{side}" if self.category in OUTWEAR else "torso"
        shoulder = self.figure.torso([self._shoulder(side)])[0]
        if self.sling:
            shoulder = self._strap(side, 1.0)[1:3].mean(0)
        flank = self.sides[side]
        stops = {True: {True: 4, False: 2}, False: {True: 3, False: 1}}[self.sleeved][self.dress]
        downs = list(along(flank, steps(0, 1, stops + 2)))
        if not self.sleeved:
            return [shoulder, *downs], [[own]] * (len(downs) + 1)
        name = f"sleeve{side}"
        part, points = self._sleeve(side, shoulder, flank[0])
        parts[name] = part
        both = [own, name]
        homes = [both, *[[name]] * len(points), both, *[[own]] * (len(downs) - 1)]
        return [shoulder, *points, *downs], homes

    def _sleeve(self, side: int, shoulder, armpit) -> tuple[Part, list]:
        """The sleeve and its landmarks from the outer edge over the cuff to the inner edge."""
        style, limb, n = self.style, self.figure.arms[side], 13
        t = steps(0.02, style.sleeve, n)
        arm = np.interp(t, [0, 0.3, 0.55, 1], [0.21, 0.18, 0.15, 0.11]) * self.figure.body.limb
        grow = steps(0, 1, n)
        width = arm + 0.045 + style.sleeve_ease * (1 - 0.3 * grow) + style.sleeve_flare * grow**2
        width += style.puff * np.sin(np.pi * np.clip(grow * 1.05, 0, 1)) ** 2
        outer, _ = limb.edges(t, width * 1.08)
        _, inner = limb.edges(t, width * 0.8)
        reach = min(0.4, style.sleeve * 0.95)
        fade = np.clip((reach - t) / (reach - t[0]), 0, 1)[:, None] ** 1.5
        outer += (shoulder - outer[0]) * fade
        inner += (armpit - inner[0]) * fade
        bow = 0.16 if self.category in OUTWEAR else 0.07  # outwear hides the sleeve below it
        seam = spline([shoulder, mix(shoulder, armpit, 0.55) - [side * bow, 0], armpit])
        root = np.vstack([seam, limb.at(t[3])])
        part = Part(f"sleeve{side}", [root, *strip(outer, inner)], covers=style.sleeve)
        part.grain = grain(limb.at([0.0, style.sleeve]))
        cuff = np.vstack([outer[-1], inner[-1]])
        up = outer[-2] + inner[-2] - outer[-1] - inner[-1]
        up = up / (np.hypot(*up) + 1e-9) * 0.13
        band = np.vstack([cuff, cuff[::-1] + up])
        part.strokes += trims.cuff_strokes(style.cuff, band)
        part.strokes.append(Stroke([seam + [side * 0.03, 0]], "ink", 0.025))
        part.folds += trims.sleeve_folds(outer, inner)
        stops = (3, 6, 9) if self.category in LONG_SLEEVED else (6,)
        return part, [*outer[list(stops)], outer[-1], inner[-1], *inner[list(stops)][::-1]]

    def _outwear(self) -> DrawnGarment:
        style, figure = self.style, self.figure
        nw, ny = 0.34 * style.neck_width, -0.1
        back = figure.torso(spline([[-nw, ny], [0, ny - 0.03], [nw, ny]]), front=-1.0)
        shell = np.vstack([back, self.sides[1], self.hem[::-1], self.sides[-1][::-1]])
        parts = {"back": Part("back", [shell])}
        if style.hood:
            hood = figure.torso(ellipse([0, -0.12], (0.62, 0.36)), front=-1.0)
            parts["back"].polygons.append(hood)
        parts["back"].strokes.append(Stroke([back], "trim", 0.1))
        neck, bottom, edge, chains = {}, {}, {}, {}
        for side in SIDES:
            neck[side], edge[side], bottom[side] = self._front_edge(side, nw, ny)
            outline = self._upper_edge(side, neck[side][::-side])
            polygon = np.vstack(
                [outline, self.sides[side], bottom[side], edge[side][::-1], neck[side][::-1]]
            )
            name = f"panel{side}"
            parts[name] = Part(name, [polygon])
            self._panel_details(parts[name], side, neck[side], edge[side], bottom[side])
        for side in SIDES:
            chains[side] = self._chain(side, self.sides[side], parts)
        left, right = neck[-1], neck[1]
        rows = {s: along(edge[s], [0, 1 / 3, 2 / 3, 1]) for s in SIDES}
        middle = len(left) // 2
        marks = [back[len(back) // 2], left[0], left[middle], left[-1], right[middle], right[0]]
        marks += chains[-1][0] + [rows[-1][3]] + chains[1][0][::-1]
        marks += [*rows[1], rows[-1][1], rows[-1][2]]
        homes = [["back"], *[["panel-1"]] * 3, *[["panel1"]] * 2]
        homes += chains[-1][1] + [["panel-1"]] + chains[1][1][::-1]
        homes += [["panel1"]] * 4 + [["panel-1"]] * 2
        return DrawnGarment(self.category, parts, np.array(marks), homes)

    def _front_edge(self, side: int, nw: float, ny: float):
        """Of one half of an open front: collar edge, front edge and hem, posed."""
        style = self.style
        top = np.array([side * style.gap, ny + style.lapel])
        corner = np.array([side * nw, ny])
        bow = mix(corner, top, 0.5) + [side * 0.05, 0]
        collar = self.figure.torso(spline([corner, bow, top]))
        half = len(self.hem) // 2
        own = self.hem[:half] if side < 0 else self.hem[half + 1 :][::-1]
        gap = style.gap if style.gap < 0.05 else max(style.gap, style.gap_hem)
        end = self.figure.torso([[side * gap, style.length + style.droop]])[0]
        end[1] = self.hem[half][1]
        nearer = own[(own[:, 0] - end[0]) * side > 0.02]
        hem = np.vstack([nearer, end])
        line = spline([collar[-1], mix(collar[-1], end, 0.5) + [side * 0.03, 0], end])
        return collar, line, hem

    # Details

    def _front_details(self, torso: Part, neckline: np.ndarray) -> None:
        style, figure = self.style, self.figure
        strokes = torso.strokes
        centre = len(neckline) // 2
        low, hem_centre = neckline[centre], self.hem[len(self.hem) // 2]
        if style.print != "none" and not self.sling:
            strokes += trims.print_strokes(style.print, style.print_shape, figure.torso)
        if self.dress and style.pleats:
            waist = np.array([self._waist_point(-1), self._waist_point(1)])
            strokes += trims.skirt_details(style.pleats, waist, self.hem, style.hem)
        else:
            strokes += trims.hem_strokes(style.hem, self.hem, 0.13)
        if style.waist != "none" and self.dress:
            strokes += self._waist_strokes()
        if style.pocket and not self.sling:
            x = 0.38
            corners = [[x - 0.15, 0.75], [x + 0.15, 0.75], [x + 0.15, 1.05], [x, 1.12],
                       [x - 0.15, 1.05], [x - 0.15, 0.75]]  # fmt: skip
            strokes.append(Stroke([figure.torso(corners)], "ink", 0.035))
        if style.placket != "none":
            end = hem_centre if style.placket == "full" else mix(low, hem_centre, 0.3)
            strokes += trims.button_strokes(low, end)
        if self.sling:
            strokes.append(Stroke([neckline], "trim", 0.07))
            cups = figure.torso(spline([[-self.chest, 1.1], [-0.3, 1.15], [0, 1.0], [0.3, 1.15],
                                        [self.chest, 1.1]]))  # fmt: skip
            strokes.append(Stroke([cups], "ink", 0.025))
        elif style.neck == "collar":
            for side in SIDES:
                strokes += trims.collar_strokes(side, neckline[::-side][0], neckline[centre])
        elif style.neck == "turtle":
            base = figure.torso(spline([[-0.34, -0.1], [0, 0.06], [0.34, -0.1]]))
            strokes += [
                Stroke([base], "ink", 0.035),
                Stroke(trims.ribs(base, 0.4, 0.06), "ink", 0.02),
            ]
        else:
            strokes.append(
                Stroke([neckline], "trim" if style.hem in ("rib", "band") else "ink", 0.11)
            )
            strokes.append(Stroke([neckline + [0, 0.09]], "ink", 0.02))
        for side in SIDES:
            torso.folds += trims.torso_folds(side, self.sides[side])
            if not self.sleeved and not self.sling:
                edge = self._upper_edge(side, neckline)[1:]
                strokes.append(Stroke([edge], "trim", 0.06))
        if self.dress:
            waist = np.array([self._waist_point(-1), self._waist_point(1)])
            torso.folds += trims.skirt_folds(waist, self.hem)

    def _waist_point(self, side: int) -> np.ndarray:
        return self.figure.torso([[side * (self.chest * 0.92), WAIST]])[0]

    def _waist_strokes(self) -> list[Stroke]:
        wide = self.chest + 0.3
        line = self.figure.torso(spline([[-wide, WAIST], [0, WAIST + 0.05], [wide, WAIST]]))
        if self.style.waist == "seam":
            return [
                Stroke([line], "ink", 0.035),
                Stroke(trims.dashes(line, 0.1, 0.05), "light", 0.02),
            ]
        buckle = ellipse(line[len(line) // 2], (0.1, 0.1), n=4, angle=np.pi / 4)
        return [Stroke([line], "trim", 0.17), Stroke([buckle], "metal", 0)]

    def _panel_details(self, panel: Part, side: int, collar, edge, hem) -> None:
        style, strokes = self.style, panel.strokes
        tip = mix(collar[0], collar[-1], 0.62) + [side * 0.3, 0.02]
        lapel = np.vstack([collar[0] - [0, 0.04], collar[-1], tip, mix(collar[0], tip, 0.5)])
        strokes += trims.hem_strokes(style.hem, hem, 0.14)
        if style.low_pockets:
            y = min(style.length - 0.5, 2.2)
            line = self.figure.torso([[side * 0.32, y + 0.1], [side * 0.58, y - 0.08]])
            strokes.append(Stroke([line], "ink", 0.06))
        if style.pocket and side > 0:
            strokes.append(Stroke([self.figure.torso([[0.36, 1.0], [0.6, 0.95]])], "ink", 0.05))
        inset = edge + [side * 0.1, 0]
        if style.zip:
            strokes.append(Stroke([edge], "metal", 0.07))
            strokes.append(Stroke(trims.dashes(edge, 0.08), "ink", 0.04))
        else:
            strokes.append(Stroke([inset], "ink", 0.025))
            if side > 0:
                spots = along(inset, steps(0.06, 0.9, 5))
                strokes.append(Stroke([ellipse(p, (0.055, 0.055), n=8) for p in spots], "metal", 0))
        strokes.append(Stroke([lapel], "trim" if style.hood else "light", 0))
        strokes.append(Stroke([np.vstack([lapel[1:], lapel[:1]])], "ink", 0.035))
        panel.folds += trims.torso_folds(side, self.sides[side])
