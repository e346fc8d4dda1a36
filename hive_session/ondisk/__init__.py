"""The on-disk contract, read side: pure decoders and layouts that every part of the suite shares."""
