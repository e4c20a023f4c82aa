"""What is made of the small clips and pictures: as little as still has chunks, sound and several variants."""

RECIPES = {
    "tiny": """
name: tiny
description: One small rendition
video: {codec: {name: h264, preset: ultrafast}, gop_seconds: 1.0, rungs: [{name: 90p, width: 160, height: 90, crf: 32}]}
packaging: {dash: false}
stills: {poster: false, sprites: false}
vmaf: "off"
""",
    "pair": """
name: pair
description: Two small renditions and sound
video:
  codec: {name: h264, preset: ultrafast}
  gop_seconds: 1.0
  rungs: [{name: 90p, width: 160, height: 90, crf: 32}, {name: 180p, width: 320, height: 180, crf: 32}]
audio: {renditions: [{name: 48k, bitrate_bps: 48000}]}
stills: {poster: false, sprites: false}
vmaf: "off"
""",
    "thumbs": """
name: thumbs
description: Two small pictures
image:
  variants:
    - {name: w64, width: 64, formats: [{name: webp}, {name: jpeg}]}
    - {name: s32, fit: cover, width: 32, height: 32, formats: [{name: jpeg}]}
""",
    "mixed": """
name: mixed
description: One small rendition of a clip, one small picture of a picture
video: {codec: {name: h264, preset: ultrafast}, gop_seconds: 1.0, rungs: [{name: 90p, width: 160, height: 90, crf: 32}]}
image: {variants: [{name: w64, width: 64, formats: [{name: jpeg}]}]}
packaging: {dash: false}
stills: {poster: false, sprites: false}
vmaf: "off"
""",
}
