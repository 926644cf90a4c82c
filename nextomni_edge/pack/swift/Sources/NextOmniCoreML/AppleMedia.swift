#if canImport(CoreGraphics) && canImport(AVFoundation)
    import AVFoundation
    import CoreGraphics
    import Foundation
    import NextOmniFlow

    extension Picture {
        /// A photo; `orientation` is EXIF's, 1 to 8, where the file has one. Transparency becomes white.
        public init(_ image: CGImage, orientation: Int = 1) throws {
            let (width, height) = (image.width, image.height)
            var levels = [UInt8](repeating: 255, count: 4 * width * height)
            let drawn = levels.withUnsafeMutableBytes { buffer in
                guard
                    let space = CGColorSpace(name: CGColorSpace.sRGB),
                    let context = CGContext(
                        data: buffer.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
                        bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
                else { return false }
                let whole = CGRect(x: 0, y: 0, width: width, height: height)
                context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
                context.fill(whole)
                context.draw(image, in: whole)
                return true
            }
            guard drawn else { throw NextOmniError("a picture of \(width)x\(height) cannot be drawn") }
            for place in 0..<width * height { levels[4 * place + 3] = 255 }
            self = try Picture(width: width, height: height, levels: levels).oriented(orientation)
        }

        /// The picture for a view.
        public var cgImage: CGImage? {
            guard let provider = CGDataProvider(data: Data(levels) as CFData), let space = CGColorSpace(name: CGColorSpace.sRGB) else {
                return nil
            }
            return CGImage(
                width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * width, space: space,
                bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: provider, decode: nil,
                shouldInterpolate: false, intent: .defaultIntent)
        }
    }

    extension Sound {
        /// What a microphone or a file gave, in floats.
        public init(_ buffer: AVAudioPCMBuffer) throws {
            guard let channels = buffer.floatChannelData, !buffer.format.isInterleaved else {
                throw NextOmniError("a sound whose samples are no floats by channel")
            }
            let count = Int(buffer.frameLength)
            try self.init(
                channels: (0..<Int(buffer.format.channelCount)).map { Array(UnsafeBufferPointer(start: channels[$0], count: count)) },
                rate: Int(buffer.format.sampleRate))
        }

        /// The first channel for a player.
        public var buffer: AVAudioPCMBuffer? {
            let samples = channels[0]
            guard let format = AVAudioFormat(standardFormatWithSampleRate: Double(rate), channels: 1),
                let found = AVAudioPCMBuffer(pcmFormat: format, frameCapacity: AVAudioFrameCount(samples.count)),
                let channel = found.floatChannelData?[0]
            else { return nil }
            found.frameLength = AVAudioFrameCount(samples.count)
            samples.withUnsafeBufferPointer { source in
                if let first = source.baseAddress { channel.update(from: first, count: samples.count) }
            }
            return found
        }
    }
#endif
