// Pan and zoom of a plane: which point of it is where on the screen; pure.

const LEAST = 0.02;
const MOST = 8;

/** The camera: screen = plane * scale + (left, top). */
export function makeCamera() {
  return { scale: 1, left: 0, top: 0 };
}

export function toScreen({ scale, left, top }, x, y) {
  return [x * scale + left, y * scale + top];
}

/** A camera for whoever paints: {scale, at(x, y)}. */
export function viewOf(camera) {
  return { scale: camera.scale, at: (x, y) => toScreen(camera, x, y) };
}

export function toPlane({ scale, left, top }, x, y) {
  return [(x - left) / scale, (y - top) / scale];
}

/** Zoom so that what is at (x, y) on the screen stays there. */
export function zoomAt(camera, factor, x, y) {
  const scale = Math.min(MOST, Math.max(LEAST, camera.scale * factor));
  const ratio = scale / camera.scale;
  return { scale, left: x - (x - camera.left) * ratio, top: y - (y - camera.top) * ratio };
}

export function panBy(camera, x, y) {
  return { ...camera, left: camera.left + x, top: camera.top + y };
}

/** The camera that shows a box in the middle of a screen; no larger than `most`. */
export function cameraFor(box, width, height, most) {
  const scale = Math.min(most, width / (box.right - box.left), height / (box.bottom - box.top));
  return {
    scale,
    left: width / 2 - (scale * (box.left + box.right)) / 2,
    top: height / 2 - (scale * (box.top + box.bottom)) / 2,
  };
}

/** Between two cameras: 0 is the first, 1 the second. */
export function between(one, other, share) {
  const mix = (name) => one[name] + (other[name] - one[name]) * share;
  return { scale: mix("scale"), left: mix("left"), top: mix("top") };
}
