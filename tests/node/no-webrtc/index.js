// The client imports WebRTC even where it only speaks HTTP. Building the real module needs a compiler and a download.
export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined
export default {}
